OF_LABELS, OF_MASKS = "classification", "segmentation"  # what `init` proposes for columns of labels and for masks
