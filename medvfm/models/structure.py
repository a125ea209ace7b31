"""Blocks and LoRA targets of any encoder, found by structure: layer names change between releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

Shape = tuple[int, int]  # of a linear layer: (in, out)
Shapes = Mapping[str, Shape]

_WEIGHTS = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def block_names(module: nn.Module) -> list[str]:
    """Names of the repeated blocks, first to last.

    A block lies directly in a list (nn.Sequential or nn.ModuleList), is no list itself, holds at least two layers
    with weights, and holds no other block: a Swin stage holds blocks, so it is none.
    """
    modules = dict(module.named_modules())
    candidates = [
        name
        for name, child in modules.items()
        if name
        and not _is_list(child)
        and _is_list(modules[name.rpartition(".")[0]])
        and sum(isinstance(layer, _WEIGHTS) for layer in child.modules()) >= 2
    ]
    outer = {parent for name in candidates for parent in _ancestors(name)}
    return [name for name in candidates if name not in outer]


def blocks(module: nn.Module) -> list[nn.Module]:
    """The repeated blocks, first to last."""
    return [module.get_submodule(name) for name in block_names(module)]


def tail(module: nn.Module) -> list[nn.Module]:
    """What comes after the last block and has weights: the final norm, a pooling head."""
    names = block_names(module)
    if not names:
        return []
    order = [name for name, _ in module.named_modules() if name]
    after = order[order.index(names[-1]) + 1 :]
    found: list[str] = []
    for name in after:
        inside = name.startswith((names[-1] + ".", *(f"{kept}." for kept in found)))
        if not inside and any(True for _ in module.get_submodule(name).parameters()):
            found.append(name)
    return [module.get_submodule(name) for name in found]


def lora_targets(module: nn.Module) -> list[str]:
    """Full names of the layers that LoRA adapts.

    Transformers: query, key, value and output projection of each block's attention, fused or not, self-attention and
    cross-attention, with grouped queries too. Networks without attention: each convolution that mixes channels
    (groups == 1) and each linear layer inside the blocks; where there are no blocks, all of them but the first, which
    takes the pixels.
    """
    found: list[str] = []
    for name in block_names(module):
        found += [f"{name}.{inner}" for inner in _attention_layers(module.get_submodule(name))]
    if found:
        return found
    mixing = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]
    scopes = tuple(f"{name}." for name in block_names(module))
    return [name for name in mixing if name.startswith(scopes)] if scopes else mixing[1:]


def _attention_layers(block: nn.Module) -> Iterator[str]:
    """Names inside a block of the layers of its self-attention and cross-attention.

    The output projection has the transposed shape of the query's and lies in the same or in the nearest enclosing
    module. An MLP, gated or not, has at most two layers of one shape, and no output projection besides.
    """
    modules = dict(block.named_modules())
    for name, parent in modules.items():
        if isinstance(parent, nn.MultiheadAttention):
            yield name
            continue
        linear = {key: layer for key, layer in parent.named_children() if isinstance(layer, nn.Linear)}
        shapes = {key: (layer.in_features, layer.out_features) for key, layer in linear.items()}
        inputs, inner = _inputs_of_one_shape(shapes)
        if inputs:
            taken = [_joined(name, key) for key in inputs]
            yield from taken
            if len(inputs) in (1, 3):
                yield from _projection(modules, name, inner, set(taken))
            continue
        for inputs, inner in _inputs_of_two_shapes(shapes):
            taken = [_joined(name, key) for key in inputs]
            projection = list(_projection(modules, name, inner, set(taken)))
            if projection:
                yield from [*taken, *projection]
                break


def _inputs_of_one_shape(shapes: Shapes) -> tuple[list[str], Shape]:
    """Query, key and value as three or more siblings of one shape (in, out), or as one layer to three times the width
    of the sibling that leads back; and the shape of the output projection."""
    for shape in dict.fromkeys(shapes.values()):
        alike = [key for key in shapes if shapes[key] == shape]
        fused = shape[1] % 3 == 0 and (shape[1] // 3, shape[0]) in shapes.values()
        if len(alike) >= 3 or fused:
            return alike, (shape[1] // 3 if fused and len(alike) < 3 else shape[1], shape[0])
    return [], (0, 0)


def _inputs_of_two_shapes(shapes: Shapes) -> Iterator[tuple[list[str], Shape]]:
    """Candidates for query, key and value where key and value are two siblings of another shape than the query; and
    the shape of the output projection, which decides.

    Cross-attention: key and value read a context of another width. Grouped queries (Ainslie et al. 2023): they read
    the same input and have fewer heads, so that the query's width is a multiple of theirs. Both may hold at once.
    """
    for shape in dict.fromkeys(shapes.values()):
        pair = [key for key in shapes if shapes[key] == shape]
        if len(pair) != 2:
            continue
        for query, (width_in, width) in shapes.items():
            if query not in pair and width % shape[1] == 0 and (width > shape[1] or width_in != shape[0]):
                yield [key for key in shapes if key in (query, *pair)], (width, width_in)


def _projection(modules: dict[str, nn.Module], attention: str, shape: Shape, taken: set[str]) -> Iterator[str]:
    """The output projection of this shape (in, out), in the attention module or in the one that holds it."""
    for scope in dict.fromkeys([attention, attention.rpartition(".")[0]]):
        if not scope and attention:  # the block itself holds the MLP too
            return
        for name, layer in modules.items():
            inside = not scope or name.startswith(scope + ".")
            if not isinstance(layer, nn.Linear) or not inside or name in taken:
                continue
            if (layer.in_features, layer.out_features) == shape:
                yield name
                return


def _is_list(module: nn.Module) -> bool:
    return type(module) in (nn.Sequential, nn.ModuleList)


def _ancestors(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
