"""The tests of pluggy that need not pass with plugins in isolates, each with the reason."""

from __future__ import annotations

_CHANGES = "its functions append to a list of the test, and what they append to in their isolate is a copy"
_IDENTITY = "it compares what crosses a border, or the plugin that pluggy holds, by identity"
_TEXT = "the exception is a copy, whose text has the traceback of its isolate too"
_MARKER = "the class is sent by value, and a marker on a class method or in a slot does not come along"
_EXITS = "a hook that raises SystemExit ends its isolate: that is a crash, and not an exception of the plugin"
_GENERATOR = "a hook returns a generator, of which an isolate makes a stream"
_INSIDE = "it looks into the calls that pluggy makes in the host, where a stand-in is called, or patches its manager"
_ON_WARNING = "the warning is given in the isolate"

_BOTH = ("[spec-is-class]", "[spec-is-instance]")
_MULTICALL, _MANAGER = "testing.test_multicall", "testing.test_pluginmanager"
_DEFAULTS = "testing.test_invocations.TestHookspecDefaultArgumentValue"

EXPECTED_FAILURES: dict[str, str] = {
    f"{_MULTICALL}::test_hookwrapper": _CHANGES,
    f"{_MULTICALL}::test_wrapper": _CHANGES,
    f"{_MULTICALL}::test_hookwrapper_order": _CHANGES,
    f"{_MULTICALL}::test_hookwrapper_exception[ValueError]": _CHANGES,
    f"{_MULTICALL}::test_hookwrapper_exception[SystemExit]": _EXITS,
    f"{_MULTICALL}::test_hookwrapper_force_exception": _CHANGES,
    f"{_MULTICALL}::test_wrapper_exception[ValueError]": _CHANGES,
    f"{_MULTICALL}::test_wrapper_exception[SystemExit]": _EXITS,
    f"{_MULTICALL}::test_wrapper_exception_chaining": _TEXT,
    f"{_MULTICALL}::test_unwind_inner_wrapper_teardown_exc": _CHANGES,
    f"{_MULTICALL}::test_wrapper_stopiteration_passtrough[True]": _CHANGES,
    f"{_MULTICALL}::test_wrapper_stopiteration_passtrough[False]": _CHANGES,
    f"{_MULTICALL}::test_suppress_inner_wrapper_teardown_exc": _CHANGES,
    f"{_MULTICALL}::test_wrapper_too_many_yield": _TEXT,
    **{f"{_MANAGER}::test_register_hookimpl_above_classmethod{kind}": _MARKER for kind in _BOTH},
    **{f"{_MANAGER}::test_register_hookimpl_above_staticmethod{kind}": _MARKER for kind in _BOTH},
    **{f"{_MANAGER}::test_register_slot_attribute_function_is_not_bound{kind}": _MARKER for kind in _BOTH},
    **{f"{_MANAGER}::test_register_instance_attribute_bound_method{kind}": _IDENTITY for kind in _BOTH},
    **{f"{_MANAGER}::test_register_module_level_bound_method{kind}": _IDENTITY for kind in _BOTH},
    **{f"{_MANAGER}::test_register_mismatch_method{kind}": _IDENTITY for kind in _BOTH},
    **{f"{_MANAGER}::test_add_tracefuncs{kind}": _INSIDE for kind in _BOTH},
    **{f"{_MANAGER}::test_hook_tracing_with_broken_repr{kind}": _IDENTITY for kind in _BOTH},
    f"{_MANAGER}::test_register_verifies_spec_added_by_historic_replay": _CHANGES,
    f"{_MANAGER}::test_register_historic": _CHANGES,
    f"{_MANAGER}::test_historic_with_subset_hook_caller": _CHANGES,
    f"{_MANAGER}::test_subset_hook_caller": _CHANGES,
    f"{_MANAGER}::test_get_hookimpls": _IDENTITY,
    f"{_MANAGER}::test_unregister_falsy_plugin": _IDENTITY,
    "testing.test_invocations::test_non_wrapper_generator": _GENERATOR,
    f"{_DEFAULTS}::test_basic": _CHANGES,
    f"{_DEFAULTS}::test_call_value_overrides_hookimpl_default_in_wrappers": _CHANGES,
    f"{_DEFAULTS}::test_historic_replay": _CHANGES,
    "testing.test_details::test_parse_hookimpl_override": _INSIDE,
    "testing.test_details::test_warn_when_deprecated_specified": _ON_WARNING,
    "testing.test_details::test_warn_when_deprecated_args_specified": _ON_WARNING,
    "testing.test_details::test_warn_when_deprecated_args_with_defaults_specified": _ON_WARNING,
    "testing.test_details::test_repr": _IDENTITY,
    "testing.test_warnings::test_teardown_raised_warning": _ON_WARNING,
}
