"""A gateway that answers interruptions at random, but in order: nothing of a cancelled reply may be believed."""

import random
from collections import deque

import pytest
from test_realtime_dialect import ENDED, STARTED, STOPPED, Conversation

STEPS = 60
TALKS = 1500


class Talk:
    """A conversation of random texts and interruptions; messages take their time both ways.

    Attributes:
        heard: what came, and the events that it gave.
        stale: the first that is of a cancelled reply and gave something to be heard.
    """

    def __init__(self, seed, *, announces, user_speaks):
        self.random = random.Random(seed)
        self.announces = announces
        self.user_speaks = user_speaks
        self.ends = self.random.choice(("before", "none", "after"))
        self.conversation = Conversation()
        self.up, self.down = deque(), deque()  # messages on their way
        self.waiting = deque()  # replies that the gateway has been asked for
        self.speaking = None  # the one that it speaks
        self.late = deque()  # when it answers interruptions
        self.asked, self.coming, self.cancelled = [], None, set()  # as the client knows them
        self.texts = 0
        self.heard = []
        self.stale = None

    def run(self):
        for _ in range(STEPS):
            self.conversation.now += 0.02
            self.random.choices((self.client, self.gateway, self.gateway_speaks, list), (24, 26, 25, 25))[0]()
            while self.late and self.late[0] <= self.conversation.now:
                self.late.popleft()
                self.down.append((STOPPED, None))
            for _ in range(self.random.randrange(3)):
                if self.down:
                    self.hear(*self.down.popleft())
        return self

    def client(self):
        chance = self.random.random()
        idle = self.coming is None and not self.asked
        if chance < 0.5 and idle and self.conversation.dialect.certain and "text" not in {each[0] for each in self.up}:
            self.texts += 1
            self.up.append(("text", self.texts))
            self.asked.append(self.texts)
        elif chance < 0.84 and not idle:
            self.cancelled |= {*self.asked, self.coming}
            self.conversation.hear(f"!{len(self.asked)}")
            self.asked, self.coming = [], None
            self.up.append(("interrupt", None))
            self.heard.append("!")
        elif self.user_speaks:
            self.down.append(("user_speech_started", None))

    def gateway(self):
        if not self.up:
            return
        what, number = self.up.popleft()
        if what == "text":
            self.waiting.append(number)
            return
        begun, self.speaking = self.speaking is not None, None
        broken_off = begun or self.waiting
        self.waiting.clear()
        if begun and self.ends == "before":
            self.down.append((ENDED, None))
        if broken_off and self.random.random() < 0.5:
            self.late.append(max([self.conversation.now + self.random.uniform(0.05, 0.5), *self.late]))
        elif self.late:
            self.late.append(self.late[-1])  # answers keep their order
        else:
            self.down.append((STOPPED, None))
        if begun and self.ends == "after":
            self.down.append((ENDED, None))

    def gateway_speaks(self):
        if self.speaking is None and self.waiting:
            self.speaking = self.waiting.popleft()
            if self.announces:
                self.down.append((STARTED, self.speaking))
        elif self.speaking is not None and self.random.random() < 0.85:
            self.down.append(("audio", self.speaking))
        elif self.speaking is not None:
            self.down.append((ENDED, self.speaking))
            self.speaking = None

    def hear(self, what, number):
        events = self.conversation.hear(what)
        self.heard.append(f"{what} {number}: {events}")
        if {"Audio", "Began"} & set(events):
            if number in self.cancelled:
                self.stale = self.stale or self.heard[-1]
            if number in self.asked:
                self.asked.remove(number)
            self.coming = number
        if {"Over", "BargedIn"} & set(events):
            self.coming = None


@pytest.mark.parametrize("user_speaks", [False, True], ids=["quiet", "the user speaks"])
@pytest.mark.parametrize("announces", [False, True], ids=["unannounced", "announced"])
def test_nothing_of_a_cancelled_reply_is_believed(announces, user_speaks, seed):
    for talk in range(TALKS):
        found = Talk(f"{seed}/{talk}", announces=announces, user_speaks=user_speaks).run()
        assert found.stale is None, found.heard
