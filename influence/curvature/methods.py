"""The methods by name, in the order in which the command line lists them."""

from __future__ import annotations

from influence.curvature.arnoldi import Arnoldi
from influence.curvature.cg import ConjugateGradients
from influence.curvature.ekfac import EKFAC
from influence.curvature.exact import Exact
from influence.curvature.identity import Identity
from influence.curvature.lissa import Lissa
from influence.curvature.method import Method
from influence.errors import MethodError

_LADDER: tuple[type[Method], ...] = (Exact, ConjugateGradients, EKFAC, Arnoldi, Lissa, Identity)
METHODS = {method.card.name: method for method in _LADDER}


def method_named(name: str) -> type[Method]:
    """The method called `name`.

    Raises:
        MethodError: there is none.
    """
    if name not in METHODS:
        raise MethodError(
            f"There is no method {name!r}; the methods are {', '.join(METHODS)} (see `upstream methods`)."
        )
    return METHODS[name]
