import pytest
import trio

from voicetrio._link.nursery import open_plain_nursery


async def fail(error: BaseException) -> None:
    raise error


async def test_leaving_it_cancels_its_tasks():
    async with open_plain_nursery("over") as nursery:
        nursery.start_soon(trio.sleep_forever)


async def test_the_blocks_own_exception_comes_as_it_is():
    cause = OSError("cause")
    with pytest.raises(KeyError) as caught:
        async with open_plain_nursery("over") as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                raise cause
            except OSError:
                raise KeyError("mine")  # noqa: B904  # its context is what is tested
    assert caught.value.__context__ is cause


async def test_the_blocks_own_group_loses_nothing():
    with pytest.raises(ExceptionGroup) as caught:
        async with open_plain_nursery("over"):
            raise ExceptionGroup("mine", [KeyError(1), ValueError(2)])
    assert caught.value.message == "mine"
    assert [type(error) for error in caught.value.exceptions] == [KeyError, ValueError]


async def test_two_at_once_stay_a_group():
    with pytest.raises(ExceptionGroup) as caught:
        async with open_plain_nursery("over") as nursery:
            nursery.start_soon(fail, ValueError("a bug"))
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("mine")
    assert {type(error) for error in caught.value.exceptions} == {KeyError, ValueError}


async def test_a_lone_bug_comes_plain():
    with pytest.raises(ValueError, match="a bug"):
        async with open_plain_nursery("over") as nursery:
            nursery.start_soon(fail, ValueError("a bug"))
            await trio.sleep_forever()


async def test_a_cancellation_from_outside_passes():
    with trio.CancelScope() as scope:
        async with open_plain_nursery("over") as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
