"""The chances of a world's moves, in the form in which they are multiplied fastest: as one matrix
for all worlds where these are alike, else one a world; sparse where most of it is nothing.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

FEW = 1 / 8  # of a matrix that is worth leaving its zeros out: at 100 places both are as fast
SMALLEST = 100_000  # numbers of a dense matrix, below which its zeros cost nothing


class Chances:
    """P(next | place, action) of W worlds, as [W, A, S, S]. Values are [W, S], flows [W, A · S]:
    actions before places, so that sums over actions run along memory.
    """

    def __init__(self, transition: Tensor) -> None:
        W, A, S, _ = transition.shape
        self.actions, self.places = A, S
        first = transition[0]
        self.alike = W == 1 or transition.stride(0) == 0 or torch.equal(
            transition, first.expand_as(transition)
        )  # fmt: skip
        every = first[None] if self.alike else transition
        self.sparse = A * S * S >= SMALLEST and float((every != 0).double().mean()) < FEW
        if self.sparse:
            # Of unlike worlds one matrix too, each a block of its diagonal.
            self.matrix = make_sparse(every)
            self.turned = make_sparse(every, turned=True)
        elif self.alike:
            self.matrix = first.reshape(A * S, S).contiguous()
            self.turned = self.matrix.T.contiguous()
        else:
            self.matrix = every.reshape(W, A * S, S).contiguous()
            self.turned = self.matrix.transpose(1, 2).contiguous()

    def expect(self, value: Tensor, out: Tensor) -> Tensor:
        """Σ_next P(next | place, action) value(next), into out.  [W, S] -> [W, A · S]"""
        if self.alike and not self.sparse:
            torch.mm(value, self.turned, out=out)
        elif self.alike:
            out.copy_((self.matrix @ value.T).T)
        elif self.sparse:
            out.copy_((self.matrix @ value.reshape(-1)).view_as(out))
        else:
            torch.bmm(value[:, None], self.turned, out=out[:, None])
        return out

    def follow(self, flow: Tensor, out: Tensor) -> Tensor:
        """Where a flow through places and actions comes by, into out.  [W, A · S] -> [W, S]"""
        if self.alike and not self.sparse:
            torch.mm(flow, self.matrix, out=out)
        elif self.alike:
            out.copy_((self.turned @ flow.T).T)
        elif self.sparse:
            out.copy_((self.turned @ flow.reshape(-1)).view_as(out))
        else:
            torch.bmm(flow[:, None], self.matrix, out=out[:, None])
        return out

    def spread(self, value: Tensor) -> Tensor:
        """The same into fresh memory, by action.  [W, S] -> [W, A, S]"""
        out = value.new_empty(len(value), self.actions * self.places)
        return self.expect(value, out).view(-1, self.actions, self.places)


def make_sparse(transition: Tensor, *, turned: bool = False) -> Tensor:
    """Worlds along the diagonal.  [W, A, S, S] -> [W · A · S, W · S], or turned over"""
    W, A, S, _ = transition.shape
    world, action, place, following = transition.nonzero().T
    rows, columns = (world * A + action) * S + place, world * S + following
    shape = (W * A * S, W * S)
    if turned:
        rows, columns, shape = columns, rows, shape[::-1]
    values = transition[world, action, place, following]
    with warnings.catch_warnings():
        # That CSR is in beta, and that a conversion of what was checked is not checked again.
        warnings.filterwarnings("ignore", "Sparse ")
        indices = torch.stack([rows, columns])
        made = torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)
        return made.to_sparse_csr()
