"""Counting over dates for many pixels at once: one vector instruction compares tens of pixels.

The loop over dates keeps bounds and counts of `LANES` pixels in vector registers. LLVM does not find that form by
itself in a loop nest, so it is written in LLVM's own words; any processor that numba knows can run it.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpckit.base.compiled import compiled

LANES: Final = 64
"""Pixels that are counted at once."""


@intrinsic  # type: ignore[untyped-decorator,unused-ignore]
def count_below(typingctx, values, first, dates, stride, bounds, counts):  # type: ignore[no-untyped-def]
    """Count for each of `LANES` pixels the dates whose value is below the pixel's bound.

    Parameters
    ----------
    values : flat array of an unsigned integer type
        Date t of lane l stands at `first + t * stride + l`.
    first, dates, stride : int
        At least one date.
    bounds, counts : arrays of the same type, length LANES
        `counts` is written.
    """
    signature = types.void(values, types.intp, types.intp, types.intp, bounds, counts)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        lanes = _Lanes(context, builder, signature, args)
        counted = lanes.over_dates(_add_if_below, lanes.load(4), lanes.constant(0))
        return lanes.store(counted, 5)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator,unused-ignore]
def least_above(typingctx, values, first, dates, stride, bounds, found):  # type: ignore[no-untyped-def]
    """Find for each of `LANES` pixels the smallest value above its bound; the type's largest if there is none.

    Parameters are those of `count_below`.
    """
    signature = types.void(values, types.intp, types.intp, types.intp, bounds, found)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        lanes = _Lanes(context, builder, signature, args)
        least = lanes.over_dates(_least_if_above, lanes.load(4), lanes.constant(-1))
        return lanes.store(least, 5)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator,unused-ignore]
def select_rank(typingctx, values, first, dates, stride, ranks, found, bits):  # type: ignore[no-untyped-def]
    """Find for each of `LANES` pixels the value of its rank (0 is the smallest).

    Parameters are those of `count_below`, with the bits that any of the values needs.
    """
    signature = types.void(values, types.intp, types.intp, types.intp, ranks, found, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        lanes = _Lanes(context, builder, signature, args)
        rank, so_far = lanes.load(4), lanes.variable(lanes.constant(0))
        with cgutils.for_range_slice(
            builder, builder.sub(args[6], args[6].type(1)), args[6].type(-1), args[6].type(-1), inc=False
        ) as (bit, _):
            below = builder.load(so_far)
            bound = builder.or_(below, lanes.spread(builder.shl(args[6].type(1), bit)))
            count = lanes.over_dates(_add_if_below, bound, lanes.constant(0))
            builder.store(builder.select(builder.icmp_unsigned("<=", count, rank), bound, below), so_far)
        return lanes.store(builder.load(so_far), 5)

    return signature, generate


def _add_if_below(builder: ir.IRBuilder, count: Any, value: Any, bound: Any) -> Any:
    # A comparison that holds is -1 when widened.
    return builder.sub(count, builder.sext(builder.icmp_unsigned("<", value, bound), count.type))


def _least_if_above(builder: ir.IRBuilder, least: Any, value: Any, bound: Any) -> Any:
    above = builder.icmp_unsigned(">", value, bound)
    return builder.select(builder.and_(above, builder.icmp_unsigned("<", value, least)), value, least)


class _Lanes:
    """Writes code over vectors of `LANES` numbers, for a call whose arguments are those of `count_below`."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> None:
        self._context, self._builder, self._args = context, builder, args
        self._types = signature.args
        self._number = context.get_value_type(signature.args[0].dtype)
        self._vector = ir.VectorType(self._number, LANES)
        self._nbytes = signature.args[0].dtype.bitwidth // 8

    def constant(self, value: int) -> Any:
        return ir.Constant(self._vector, [ir.Constant(self._number, value)] * LANES)

    def spread(self, value: Any) -> Any:
        """Give every lane the same number."""
        narrow = self._builder.trunc(value, self._number)
        one = self._builder.insert_element(self.constant(0), narrow, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [ir.Constant(ir.IntType(32), 0)] * LANES)
        return self._builder.shuffle_vector(one, one, everywhere)

    def variable(self, value: Any) -> Any:
        place = cgutils.alloca_once(self._builder, self._vector)
        self._builder.store(value, place)
        return place

    def load(self, argument: int) -> Any:
        return self._builder.load(self._pointer(argument), align=self._nbytes)

    def store(self, value: Any, argument: int) -> Any:
        self._builder.store(value, self._pointer(argument), align=self._nbytes)
        return self._context.get_dummy_value()

    def over_dates(self, step: Any, bound: Any, start: Any) -> Any:
        """Accumulate over the dates; `step(builder, so_far, value, bound)` takes one of them in."""
        builder, (_, first, dates, stride, *_rest) = self._builder, self._args
        values = self._array(0)
        before, intp = builder.block, dates.type
        body, after = builder.append_basic_block("date"), builder.append_basic_block("dates_done")
        builder.branch(body)
        builder.position_at_end(body)
        date, place, so_far = builder.phi(intp), builder.phi(intp), builder.phi(self._vector)
        pointer = builder.bitcast(cgutils.gep_inbounds(builder, values, place), self._vector.as_pointer())
        total = step(builder, so_far, builder.load(pointer, align=self._nbytes), bound)
        next_date, next_place = builder.add(date, intp(1)), builder.add(place, stride)
        builder.cbranch(builder.icmp_signed("<", next_date, dates), body, after)
        for phi, begin, onward in (
            (date, intp(0), next_date),
            (place, first, next_place),
            (so_far, start, total),
        ):
            phi.add_incoming(begin, before)
            phi.add_incoming(onward, body)
        builder.position_at_end(after)
        return total

    def _array(self, argument: int) -> Any:
        return self._context.make_array(self._types[argument])(
            self._context, self._builder, self._args[argument]
        ).data

    def _pointer(self, argument: int) -> Any:
        return self._builder.bitcast(self._array(argument), self._vector.as_pointer())


@compiled(nogil=True, error_model="numpy")
def bit_length(number):  # type: ignore[no-untyped-def]
    """Bits of an unsigned integer, without leading zeros."""
    length = 0
    while number:
        number >>= 1
        length += 1
    return length
