"""What every option of a provider refuses."""

import attrs
import pytest

from voicetrio._options import in_range, whole_or_none
from voicetrio.errors import ConfigurationError


@attrs.frozen(kw_only=True)
class Options:
    share: float = attrs.field(default=0.5, validator=in_range(0, 1))
    delay: int = attrs.field(default=0, validator=whole_or_none(0, 9))
    share_or_none: float | None = attrs.field(default=None, validator=in_range(0, 1))
    delay_or_none: int | None = attrs.field(default=None, validator=whole_or_none(0, 9))


@pytest.mark.parametrize("name", ["share", "delay"])
def test_none_is_no_value_of_an_option_that_has_another_default(name):
    with pytest.raises(ConfigurationError, match=name):
        Options(**{name: None})


def test_none_says_that_an_option_is_not_given():
    assert Options(share_or_none=None, delay_or_none=None) == Options()


@pytest.mark.parametrize("name", ["share", "delay", "share_or_none", "delay_or_none"])
@pytest.mark.parametrize("value", [-1, 10, "1", True, float("nan")])
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=name):
        Options(**{name: value})
