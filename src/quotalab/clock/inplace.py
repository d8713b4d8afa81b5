"""Functions written in C, duplicated and redirected in place.

A module that has done ``from time import monotonic`` holds the function object itself, so replacing the
attribute of ``time`` does not reach it. Redirecting changes what the object does and leaves it where it is.

CPython calls such a function as ``ml_meth(m_self, argument)``. Its own API has functions of that very shape
that call their first argument: with one of those as ``ml_meth`` and our callable as ``m_self``, the call
arrives at our callable, at the price of a Python call and with its exceptions kept. (A ctypes callback costs
more and loses exceptions.) Layouts: ``PyMethodDef`` and ``PyCFunctionObject`` in CPython's
``Include/methodobject.h`` and ``Include/cpython/methodobject.h``, unchanged from 3.9 to 3.13.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, cast

__all__ = ["Redirection", "duplicate"]


class _MethodDef(ctypes.Structure):
    _fields_ = [
        ("ml_name", ctypes.c_void_p),
        ("ml_meth", ctypes.c_void_p),
        ("ml_flags", ctypes.c_int),
        ("ml_doc", ctypes.c_void_p),
    ]


class _CFunction(ctypes.Structure):
    _fields_ = [
        ("ob_base", ctypes.c_byte * object.__basicsize__),
        ("m_ml", ctypes.POINTER(_MethodDef)),
        ("m_self", ctypes.c_void_p),
    ]


def _address(function: object) -> int:
    return cast(int, ctypes.cast(cast(Any, function), ctypes.c_void_p).value)


# Which function of the C API calls its first argument with what is left, by calling convention (ml_flags).
_CALLERS = {
    0x01: _address(ctypes.pythonapi.PyObject_CallObject),  # METH_VARARGS: a tuple of arguments
    0x04: _address(ctypes.pythonapi.PyObject_CallNoArgs),  # METH_NOARGS
    0x08: _address(ctypes.pythonapi.PyObject_CallOneArg),  # METH_O
}

_new_function = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.POINTER(_MethodDef), ctypes.py_object, ctypes.py_object
)(("PyCFunction_NewEx", ctypes.pythonapi))
_incref = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))
_decref = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_DecRef", ctypes.pythonapi))


def duplicate(function: Callable[..., Any]) -> Any:
    """A second function that does what ``function`` does now, whatever is later done to ``function``."""
    definition = _MethodDef.from_buffer_copy(_CFunction.from_address(id(function)).m_ml.contents)
    _incref(definition)  # the new function points into it, and may live as long as the process
    owner: Any = function
    return _new_function(ctypes.byref(definition), owner.__self__, owner.__module__)


class Redirection:
    """A C function of a module that calls ``target`` instead, until undone.

    ``target`` takes the arguments that the function takes; keyword arguments are not passed on, none of the
    clocks has any. Pickling the function does not work while it is redirected.
    """

    def __init__(self, function: Callable[..., Any], target: Callable[..., object]) -> None:
        self._function = function
        self._target = target
        layout = _CFunction.from_address(id(function))
        definition = layout.m_ml.contents
        self._before = (definition.ml_meth, layout.m_self)
        caller = _CALLERS[definition.ml_flags]
        _incref(target)  # m_self owns a reference; the one to the module is kept for undo()
        layout.m_self = id(target)
        definition.ml_meth = caller

    def undo(self) -> None:
        """Make the function what it was."""
        layout = _CFunction.from_address(id(self._function))
        layout.m_ml.contents.ml_meth, layout.m_self = self._before
        _decref(self._target)
