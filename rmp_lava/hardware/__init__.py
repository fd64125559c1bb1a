"""Facts about chips: hardware profiles."""

from .profiles import Profile, load_profile, profile_names

__all__ = ["Profile", "load_profile", "profile_names"]
