"""Reads past the end of an array: which results of a traced function depend on one, and through which input.

jax takes the nearest entry for an index that does not exist, without a word. Here the equations of a traced function
are walked for many inputs at once, n combinations of categories. What follows from known numbers is computed, by numpy;
of everything else it is only followed whether it depends on an entry that does not exist. A choice by a known condition
drops the branch that is not taken, and a product with a known zero its other factor, so that what is read past the end
and not used is no fault. What these rules do not know counts as unknown: an unknown index reads nothing past the end.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

_MOST = 200_000  # numbers in a known value; larger ones count as unknown


class Term(NamedTuple):
    """One value in a traced function, for every combination.

    Attributes:
        known: its numbers, shape (n or 1, ...); None where they are not known.
        past: the number of the read past the end that an entry depends on, 0 for none, shape (n or 1, ...); None
            where no entry does.
        name: of the input that it is.
    """

    known: np.ndarray | None = None
    past: np.ndarray | None = None
    name: str = ""


class Read(NamedTuple):
    """A look-up by an index that does not exist.

    Attributes:
        array: the input that is read; empty where it is none.
        length: of its axis.
        categories: for each input that makes up the combinations, at which of its categories, whatever the others.
    """

    array: str
    length: int
    categories: tuple[np.ndarray, ...]


class Walk:
    """Follows the equations of a traced function.

    Args:
        grid: how many categories each input that makes up the combinations has.
        exact: compute what numpy has no rule for by jax, which compiles each such equation. Otherwise a condition may
            count as unknown, so that only what reads past the end so is worth the time.

    A read counts where a category of one input reads past the end whatever the others are. `table[s + a]` at the
    largest s and a is left alone: a constraint, or the law of s, may keep the two apart.
    """

    def __init__(self, grid: Sequence[int], exact: bool) -> None:
        self.grid = tuple(grid)
        self.exact = exact
        self.reads: list[Read] = []

    def run(self, jaxpr: Jaxpr, consts: Sequence[Any], given: Sequence[Term]) -> list[Term]:
        """The outputs, from the inputs."""
        env = dict(zip(jaxpr.constvars, [constant(value) for value in consts], strict=True))
        env |= dict(zip(jaxpr.invars, given, strict=True))

        def term(atom: Any) -> Term:
            return constant(atom.val) if isinstance(atom, Literal) else env[atom]

        with np.errstate(all="ignore"):
            for equation in jaxpr.eqns:
                found = self._equation(equation, [term(atom) for atom in equation.invars])
                env |= dict(zip(equation.outvars, found, strict=True))
        return [term(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: JaxprEqn, given: list[Term]) -> list[Term]:
        name, params = equation.primitive.name, equation.params
        outs: list[Any] = [variable.aval for variable in equation.outvars]
        shapes: list[tuple[int, ...]] = [getattr(atom.aval, "shape", ()) for atom in equation.invars]
        if name in _CALLS:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr") if key in params)
            inner = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            return self.run(inner.jaxpr, inner.consts, given)
        if name == "cond":
            branches = [self.run(branch.jaxpr, branch.consts, given[1:]) for branch in params["branches"]]
            return [_chosen(given[0], cases) for cases in zip(*branches, strict=True)]
        if name == "select_n":
            return [_chosen(given[0], given[1:])]
        if name == "dynamic_slice":
            return [self._slice(given[0], given[1:], shapes[0], params["slice_sizes"])]
        if name == "gather" and params["mode"] == jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS:
            return [self._gather(given, shapes[0], params, outs[0].shape)]
        if name == "iota":
            return [constant(np.moveaxis(np.broadcast_to(*_iota(params)), -1, params["dimension"]))]
        if name in _ELEMENTWISE:
            return [_elementwise(*_ELEMENTWISE[name], given, outs[0])]
        if name in _STRUCTURAL:
            return [_moved(_STRUCTURAL[name](params), given, shapes)]
        known = _by_jax(equation, given) if self.exact else [None] * len(equation.outvars)
        return [Term(value, _any(given, out.shape)) for value, out in zip(known, outs, strict=True)]

    def _slice(self, array: Term, starts: list[Term], shape: tuple[int, ...], sizes: tuple[int, ...]) -> Term:
        new = None
        for start, length, size in zip(starts, shape, sizes, strict=True):
            if start.known is not None:
                new = _either(new, self._read(array.name, (start.known < 0) | (start.known > length - size), length))
        past = _either(None if new is None else _over(new, sizes), _any(starts, sizes))
        if any(start.known is None for start in starts):
            return Term(None, _either(past, _any([array], sizes)))
        index = []
        for axis, (start, length, size) in enumerate(zip(starts, shape, sizes, strict=True)):
            places = np.clip(start.known, 0, length - size)[:, None] + np.arange(size)  # type: ignore[arg-type]
            index.append(places.reshape(len(places), *(size if other == axis else 1 for other in range(len(sizes)))))

        def cut(entries: np.ndarray | None) -> np.ndarray | None:
            if entries is None or math.prod(self.grid) * math.prod(sizes) > _MOST:
                return None
            return entries[(np.arange(len(entries)).reshape(-1, *(1,) * len(sizes)), *index)]

        return Term(cut(array.known), _either(past, cut(array.past)))

    def _gather(
        self, given: list[Term], shape: tuple[int, ...], params: Mapping[str, Any], out: tuple[int, ...]
    ) -> Term:
        array, places = given
        past = _any(given, out)
        if places.known is None:
            return Term(None, past)
        numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
        batch = [axis for axis in range(len(out)) if axis not in numbers.offset_dims]
        for column, axis in enumerate(numbers.start_index_map):
            start = places.known[..., column]
            new = self._read(array.name, (start < 0) | (start > shape[axis] - sizes[axis]), shape[axis])
            if new is not None:
                lengths = [new.shape[1 + batch.index(axis)] if axis in batch else 1 for axis in range(len(out))]
                past = _either(past, np.broadcast_to(new.reshape(len(new), *lengths), (len(new), *out)))
        return Term(None, past)

    def _read(self, array: str, outside: np.ndarray, length: int) -> np.ndarray | None:
        """The number of a new read wherever a category is outside whatever the others are; None where none is."""
        if not outside.any():
            return None
        rest = outside.shape[1:]
        cells = np.broadcast_to(outside, (math.prod(self.grid), *rest)).reshape(*self.grid, *rest)
        axes = range(len(self.grid))
        always = [cells.all(axis=tuple(other for other in axes if other != axis), keepdims=True) for axis in axes]
        counted = cells & np.any(np.stack([np.broadcast_to(each, cells.shape) for each in always]), axis=0)
        if not counted.any():
            return None
        categories = tuple(np.any(each.reshape(math.prod(each.shape[: len(self.grid)]), -1), axis=1) for each in always)
        self.reads.append(Read(array, length, categories))
        return np.where(counted.reshape(-1, *rest), len(self.reads), 0)


def constant(value: Any, dtype: Any = None) -> Term:
    """A value that is the same in every combination, of its own type or of another."""
    if np.size(value) > _MOST or jax.dtypes.issubdtype(getattr(value, "dtype", float), jax.dtypes.extended):
        return Term()
    array = np.asarray(value, dtype)
    return Term(array[None]) if array.dtype.kind in "biuf" else Term()


def _aligned(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays of one rank: those of single numbers get axes of length one."""
    rank = max(array.ndim for array in arrays)
    return [array.reshape(*array.shape, *(1,) * (rank - array.ndim)) for array in arrays]


def _either(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    if a is None or b is None:
        return b if a is None else a
    return np.maximum(*_aligned([a, b]))


def _over(entries: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Entries laid over a shape; one number a combination is the same everywhere."""
    whole = entries.reshape(*entries.shape, *(1,) * (1 + len(shape) - entries.ndim))
    return np.broadcast_to(whole, (len(entries), *shape))


def _any(given: Sequence[Term], shape: tuple[int, ...]) -> np.ndarray | None:
    """A read that any entry of the inputs depends on, for every entry of the output."""
    found = None
    for term in given:
        if term.past is not None:
            found = _either(found, term.past.reshape(len(term.past), -1).max(axis=1, initial=0))
    return None if found is None else _over(found, shape)


def _chosen(which: Term, cases: Sequence[Term]) -> Term:
    """`cases[which]`, entry by entry; of all cases where `which` is not known."""
    past = which.past
    known = None
    if which.known is None:
        for case in cases:
            past = _either(past, case.past)
        return Term(None, past)
    for number, case in enumerate(cases):
        if case.past is not None:
            place, entries = _aligned([which.known, case.past])
            past = _either(past, np.where(place == number, entries, 0))
    if all(case.known is not None for case in cases):
        place, known, *rest = _aligned([which.known, *(case.known for case in cases if case.known is not None)])
        for number, entries in enumerate(rest, start=1):
            known = np.where(place == number, entries, known)
    return Term(known, past)


def _elementwise(operation: Callable[..., Any], decides: Any, given: Sequence[Term], out: Any) -> Term:
    known = past = None
    values = [term.known for term in given if term.known is not None]
    if len(values) == len(given) and max(len(value) for value in values) * out.size <= _MOST:
        known = np.asarray(operation(*_aligned(values))).astype(out.dtype)
    for number, term in enumerate(given):
        entries = term.past
        for place, other in enumerate(given):
            if entries is not None and place != number and other.known is not None and decides is not None:
                entries, value = _aligned([entries, other.known])
                entries = np.where(value == decides, 0, entries)
        past = _either(past, entries)
    if past is not None:
        past = _over(past, out.shape)
    return Term(known, past)


def _moved(move: Callable[..., np.ndarray], given: Sequence[Term], shapes: Sequence[tuple[int, ...]]) -> Term:
    """Entries put elsewhere: of what is known, and of what is past the end alike."""
    known = past = None
    count = max((len(a) for term in given for a in (term.known, term.past) if a is not None), default=1)
    whole = [(count, *shape) for shape in shapes]
    values = [term.known for term in given if term.known is not None]
    if len(values) == len(given) and sum(math.prod(shape) for shape in whole) <= _MOST:
        known = move(*[np.broadcast_to(value, shape) for value, shape in zip(values, whole, strict=True)])
    if any(term.past is not None for term in given):
        entries = [np.zeros(1, int) if term.past is None else term.past for term in given]
        laid = [_over(entry, shape) for entry, shape in zip(entries, shapes, strict=True)]
        past = move(*[np.broadcast_to(entry, shape) for entry, shape in zip(laid, whole, strict=True)])
    return Term(known, past)


def _by_jax(equation: JaxprEqn, given: Sequence[Term]) -> Sequence[np.ndarray | None]:
    """The outputs of an equation that numpy has no rule for, where its inputs are known."""
    values = [term.known for term in given if term.known is not None]
    count = max((len(value) for value in values), default=0)
    atoms: list[Any] = [*equation.invars, *equation.outvars]
    numbers = count * sum(atom.aval.size for atom in atoms)
    if equation.effects or not values or len(values) < len(given) or numbers > _MOST:
        return [None] * len(equation.outvars)
    arrays = [np.broadcast_to(value, (count, *value.shape[1:])) for value in values]

    def bind(*arguments: Any) -> list[Any]:
        found = equation.primitive.bind(*arguments, **equation.params)
        return found if equation.primitive.multiple_results else [found]

    with jax.ensure_compile_time_eval():
        return [np.asarray(found) for found in jax.vmap(bind)(*arrays)]


def _iota(params: Mapping[str, Any]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Counting along the last axis, and the shape that it is laid over."""
    shape, axis = params["shape"], params["dimension"]
    return np.arange(shape[axis], dtype=params["dtype"]), (*shape[:axis], *shape[axis + 1 :], shape[axis])


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.trunc(a / b) if a.dtype.kind in "iu" else a / b


def _broadcast(params: Mapping[str, Any]) -> Callable[..., np.ndarray]:
    def move(array: np.ndarray) -> np.ndarray:
        shape, axes = params["shape"], params["broadcast_dimensions"]
        lengths = [array.shape[1 + axes.index(axis)] if axis in axes else 1 for axis in range(len(shape))]
        return np.broadcast_to(array.reshape(len(array), *lengths), (len(array), *shape))

    return move


def _cut(params: Mapping[str, Any]) -> Callable[..., np.ndarray]:
    strides = params["strides"] or (1,) * len(params["start_indices"])
    cuts = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    index = (slice(None), *(slice(*cut) for cut in cuts))
    return lambda array: array[index]


_CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")

# What each gives, and the number that decides it whatever the other argument is.
_ELEMENTWISE: dict[str, tuple[Callable[..., Any], Any]] = {
    "add": (np.add, None),
    "sub": (np.subtract, None),
    "mul": (np.multiply, 0),
    "div": (_divide, None),
    "rem": (np.fmod, None),
    "max": (np.maximum, None),
    "min": (np.minimum, None),
    "neg": (np.negative, None),
    "sign": (np.sign, None),
    "abs": (np.abs, None),
    "exp": (np.exp, None),
    "log": (np.log, None),
    "sqrt": (np.sqrt, None),
    "pow": (np.power, None),
    "floor": (np.floor, None),
    "ceil": (np.ceil, None),
    "clamp": (lambda low, x, high: np.minimum(np.maximum(x, low), high), None),
    "lt": (np.less, None),
    "le": (np.less_equal, None),
    "gt": (np.greater, None),
    "ge": (np.greater_equal, None),
    "eq": (np.equal, None),
    "ne": (np.not_equal, None),
    "and": (np.bitwise_and, 0),
    "or": (np.bitwise_or, True),
    "not": (np.invert, None),
    "convert_element_type": (lambda x: x, None),
    "copy": (lambda x: x, None),
}

_STRUCTURAL: dict[str, Callable[[Mapping[str, Any]], Callable[..., np.ndarray]]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": lambda params: lambda array: array.reshape(len(array), *params["new_sizes"]),
    "squeeze": lambda params: lambda array: array.squeeze(tuple(axis + 1 for axis in params["dimensions"])),
    "concatenate": lambda params: lambda *arrays: np.concatenate(arrays, axis=params["dimension"] + 1),
    "stack": lambda params: lambda *arrays: np.stack(arrays, axis=params["axis"] + 1),
    "transpose": lambda params: lambda array: array.transpose(0, *(axis + 1 for axis in params["permutation"])),
    "slice": _cut,
}
