"""Small encoders with their heads and processors, as transformers builds them."""

from __future__ import annotations

SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
}
DINO = {**SMALL, "image_size": 70, "patch_size": 14}
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}
DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_attention_heads": 4,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 64,
}
CONVNEXT = {
    "hidden_sizes": [8, 16, 32, 48],
    "depths": [1, 1, 2, 1],
    "image_size": 64,
    "layer_scale_init_value": 0.5,
}
CROP = {"size": {"shortest_edge": 80}, "do_center_crop": True, "crop_size": {"height": 70, "width": 70}, "resample": 3}
SQUASH = {"size": {"height": 64, "width": 64}}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def checkpoints() -> dict:
    """Name -> (a model with its heads, the class that encodes, that class's options, its processor)."""
    import transformers as T

    bit, vit = T.BitImageProcessor, T.ViTImageProcessor
    dinov3 = getattr(T, "DINOv3ViTImageProcessor", None) or T.DINOv3ViTImageProcessorFast  # its name in 5.3
    naflex = {**SMALL, "num_patches": 16}
    naflex.pop("image_size")
    swin = {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 2, 2], "num_heads": [1, 2, 2, 4], "window_size": 2}
    return {
        "dinov2": (T.Dinov2ForImageClassification(T.Dinov2Config(**DINO)), T.Dinov2Model, {}, bit(**CROP, **IMAGENET)),
        "dinov2_with_registers": (
            T.Dinov2WithRegistersModel(T.Dinov2WithRegistersConfig(**DINO)),
            T.Dinov2WithRegistersModel,
            {},
            bit(**CROP, **IMAGENET),
        ),
        "dinov3_vit": (
            T.DINOv3ViTModel(T.DINOv3ViTConfig(**SMALL, num_register_tokens=3)),
            T.DINOv3ViTModel,
            {},
            dinov3(**SQUASH),
        ),
        "dinov3_convnext": (
            T.DINOv3ConvNextModel(T.DINOv3ConvNextConfig(**CONVNEXT)),
            T.DINOv3ConvNextModel,
            {},
            dinov3(**SQUASH),
        ),
        "vit": (
            T.ViTForImageClassification(T.ViTConfig(**SMALL)),
            T.ViTModel,
            {"add_pooling_layer": False},
            vit(**SQUASH, resample=2),
        ),
        "vit_mae": (
            T.ViTMAEForPreTraining(T.ViTMAEConfig(**SMALL, **DECODER)),
            T.ViTMAEModel,
            {"mask_ratio": 0.0},
            vit(**SQUASH, resample=3, **IMAGENET),
        ),
        "swin": (
            T.SwinForImageClassification(T.SwinConfig(**swin)),
            T.SwinModel,
            {},
            vit(**SQUASH, resample=3, **IMAGENET),
        ),
        "siglip": (
            T.SiglipModel(T.SiglipConfig(vision_config=SMALL, text_config=TEXT)),
            T.SiglipVisionModel,
            {},
            T.SiglipImageProcessor(**SQUASH, resample=3),
        ),
        "siglip2": (
            T.Siglip2Model(T.Siglip2Config(vision_config=naflex, text_config=TEXT)),
            T.Siglip2VisionModel,
            {},
            T.Siglip2ImageProcessor(patch_size=16, max_num_patches=16),
        ),
        "clip": (
            T.CLIPModel(T.CLIPConfig(vision_config=SMALL, text_config=TEXT, projection_dim=16)),
            T.CLIPVisionModel,
            {},
            T.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
        ),
    }
