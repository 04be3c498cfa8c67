"""Whether a plugin and its host fit each other, by version.  Pure."""

from __future__ import annotations


def check_api(api: str) -> None:
    """See that the version of an application's API is one.

    Raises:
        ValueError: if it is not.
    """
    from packaging.version import InvalidVersion, Version

    try:
        Version(api)
    except (InvalidVersion, TypeError):
        raise ValueError(f"PluginHost: api={api!r} is not allowed; use a version such as '2.3'") from None


def why_incompatible(api: str | None, wanted: str, name: str) -> str | None:
    """Return in one sentence why a plugin does not fit an API, and which side to upgrade; None if it fits.

    Args:
        api: the version of the application's API; None: it has none, so that all fit.
        wanted: what the plugin works with.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import Version

    if api is None or wanted.strip() == "*":
        return None
    try:
        specifiers = SpecifierSet(wanted)
    except InvalidSpecifier:
        return f"plugin {name} says it works with API {wanted!r}, which is not a specifier such as '>=2.1,<3'"
    if specifiers.contains(Version(api), prereleases=True):
        return None
    side = "the application" if _is_ahead(wanted, api) else f"plugin {name}"
    return f"plugin {name} works with API {wanted}, and the application has {api}; upgrade {side}"


def _is_ahead(wanted: str, api: str) -> bool:
    """Whether a plugin needs a newer API than there is."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    lower = [
        Version(one.version.rstrip(".*")) for one in SpecifierSet(wanted) if one.operator in (">=", ">", "~=", "==")
    ]
    return bool(lower) and max(lower) > Version(api)
