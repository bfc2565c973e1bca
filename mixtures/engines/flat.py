"""An array's numbers one after another, in compiled loops."""

from __future__ import annotations

from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array


@intrinsic
def flat(typing, array):
    """The numbers of an array in the order of C, (size,): its ``ravel``, but that this calls no function of numba's."""
    found = array.copy(ndim=1)

    def generate(context, builder, signature, arguments):
        own, view = make_array(array)(context, builder, arguments[0]), make_array(found)(context, builder)
        each = own.itemsize
        populate_array(view, own.data, [own.nitems], [each], each, own.meminfo, own.parent)
        return impl_ret_borrowed(context, builder, found, view._getvalue())

    return found(array), generate
