"""A text encoder: any text tower behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medvfm.core.errors import RecipeError
from medvfm.models import structure
from medvfm.models.gradients import unread
from medvfm.models.text.tokens import Tokenizer

Read = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]


class TextEncoder(nn.Module):
    """A text model with its tokenizer. `read` and `table` know how this family of models is called.

    `backbone` is the plain model of its library and may be replaced by a peft wrapper of itself; `projection` leads
    from its vector to the one that is compared with images, where the published model has it apart.

    read    the model's own vector (n, d) of `input_ids` and `attention_mask`, both (n, L)
    table   the layer that turns ids into embeddings
    fill    rows are always padded to `limit`, because the model was trained so, rather than to the longest of a batch
    masked  the model is given the mask; without it, it reads what pads a row as it was trained to
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        tokenizer: Tokenizer,
        read: Read,
        table: Callable[[nn.Module], nn.Module],
        width: int,
        limit: int,
        name: str,
        weights_record: dict[str, Any],
        projection: nn.Module | None = None,
        fill: bool = False,
        masked: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Identity() if projection is None else projection
        self.tokenizer, self.width, self.limit, self.name = tokenizer, width, limit, name
        self.weights_record, self.fill, self.masked = weights_record, fill, masked
        self.staged = False  # whether more than one stage of training has changed it
        self._read, self._table = read, table

    @property
    def token_width(self) -> int:
        """Width of the embeddings of tokens."""
        weight: Any = self._table(self.backbone).weight
        return int(weight.shape[1])

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, (n, L) int64, padded as the model wants; longer texts lose their end."""
        return self._padded(self.tokenizer.rows(texts, self.limit))

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts have more tokens than the limit."""
        return sum(len(row) > self.limit for row in self.tokenizer.rows(texts, None))

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """(n, width) float32 of what `tokens` gave: the model's own text vector, not normalised."""
        kept = {name: ids.to(self._device()) for name, ids in tokens.items()}
        if not self.masked:
            kept["attention_mask"] = torch.ones_like(kept["attention_mask"])
        return self.projection(self._read(self.backbone, kept)).float()

    def token_vectors(self, text: str) -> Tensor:
        """(k, token_width) embeddings of a text's tokens without the special ones, from which a context may start."""
        begin, ends = self.tokenizer.begin, self.tokenizer.ends
        row = self.tokenizer.rows([text], None)[0]
        ids = torch.tensor(row[begin : len(row) - ends + begin], dtype=torch.int64, device=self._device())
        return self._table(self.backbone)(ids).detach().clone()

    def with_context(self, vectors: Tensor, texts: Sequence[str]) -> Tensor:
        """(n, width) of texts after learned embeddings; Zhou et al. 2022 (CoOp), eq. 3, with the class name at the end.

        vectors (m, token_width) stand between the token that begins a text and those of each text, which is cut so
        that all of it fits. Gradients flow to them.
        """
        if not len(vectors):
            return self(self.tokens(texts))
        count, room = len(vectors), self.limit - self.tokenizer.ends - len(vectors)
        if room < 1:
            raise RecipeError(
                f"{count} learned tokens leave no room for a word within the {self.limit} of {self.name}",
                remedy=f"take at most {self.limit - self.tokenizer.ends - 1}",
            )
        begin = self.tokenizer.begin
        rows = [
            [*row[:begin], *[self.tokenizer.plain] * count, *row[begin:]]
            for row in self.tokenizer.rows(texts, self.limit - count)
        ]
        tokens = self._padded(rows)
        starts = tokens["attention_mask"].argmax(1) + begin
        with self._in_place(vectors, starts.to(self._device())):
            return self(tokens)

    def blocks(self) -> list[nn.Module]:
        """The repeated blocks, first to last."""
        return structure.blocks(self.backbone)

    def last_blocks(self, count: int) -> list[nn.Module]:
        """The last `count` blocks and what comes after them (final norm, projection)."""
        found = self.blocks()
        if not 1 <= count <= len(found):
            raise RecipeError(
                f"{self.name} has {len(found)} blocks, not {count}",
                remedy=f"ask for 1 to {len(found)}" if found else "take another method",
            )
        return [*found[-count:], *structure.tail(self.backbone), self.projection]

    def unused(self, read: Callable[[list[str]], Sequence[Tensor | None]] | None = None) -> list[nn.Parameter]:
        """Parameters of the backbone that `read` of texts never looks at; the text vector where it is None."""
        named, texts = list(self.backbone.named_parameters()), ["a text"]
        lost = set(unread(self, named, lambda: [self(self.tokens(texts))] if read is None else read(texts)))
        return [parameter for name, parameter in named if name in lost]

    def _padded(self, rows: list[list[int]]) -> dict[str, Tensor]:
        length = self.limit if self.fill else max((len(row) for row in rows), default=1)
        ids = torch.full((len(rows), max(1, length)), self.tokenizer.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(ids.shape[1] - len(row), None) if self.tokenizer.pads_left else slice(0, len(row))
            ids[i, place], mask[i, place] = torch.tensor(row, dtype=torch.int64), 1
        return {"input_ids": ids, "attention_mask": mask}

    @contextmanager
    def _in_place(self, vectors: Tensor, starts: Tensor) -> Iterator[None]:
        """While it lasts, `vectors` stand in place of the embeddings from each row's start (n,) on.

        The model's own forward runs, so that positions, masks and pooling are those of a text of this length.
        """

        def put(_module: nn.Module, _inputs: object, embedded: Tensor) -> Tensor:
            order = torch.arange(embedded.shape[1], device=embedded.device) - starts[:, None]
            inside = (order >= 0) & (order < len(vectors))
            given = vectors.to(embedded)[order.clamp(0, len(vectors) - 1)]
            return torch.where(inside[..., None], given, embedded)

        handle = self._table(self.backbone).register_forward_hook(put)
        try:
            yield
        finally:
            handle.remove()

    def _device(self) -> torch.device:
        return next(self.backbone.parameters()).device
