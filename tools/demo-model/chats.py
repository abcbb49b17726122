"""Conversations in which an earlier message must be remembered."""

import random

import words as W
from phrases import expand, spoken

SYLLABLES = "ba be bi bo bra ca co da de di do dra el en fa fe fi fo ga go ha he hi ja jo ka ke ki ko la le li lo lu ma me mi mo na ne ni no nu pa pe ra re ri ro ru sa se si so ta te ti to tra va ve vi vo wa xa ya za ze zi zo".split()


def invented(rng: random.Random) -> str:
    """A name that no list has, so that names are copied and not recognised."""
    name = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))
    return (name + rng.choice(["", "", "n", "s", "r", "l"])).capitalize()


def _name(rng):
    return rng.choice(W.NAMES) if rng.random() < 0.6 else invented(rng)


def _pick(pool, share=0.75):
    return lambda rng: rng.choice(pool) if rng.random() < share else invented(rng)


# What is told, how it is acknowledged, how it is asked for, the answer, and the answer when it was never told. V is the value.
SLOTS = {
    "name": (
        _name,
        "my name is V|(hi|hello|hey), my name is V|i am V|i'm V|(hi|hello|hey), i am V|call me V|my name's V|people call me V|you can call me V|(hi|hello), i'm V|i am called V|this is V speaking|please call me V|my first name is V",
        "Nice to meet you, V!|Hello, V! How can I help you?",
        "what is my name|what's my name|who am i|do you know my name|do you remember my name|tell me my name|can you tell me my name|what am i called|say my name|and what is my name|so what is my name|what was my name again|do you still know my name|how am i called|do you remember who i am|please tell me my name",
        "Your name is V.",
        "You have not told me your name.",
    ),
    "city": (
        _pick(W.CITIES),
        "i live in V|i am from V|my home is in V|i come from V|my city is V|i live in the city of V|my home town is V",
        "V sounds like a nice place.|Thank you, I will remember that you live in V.",
        "where do i live|which city do i live in|what city do i live in|do you know where i live|in which city do i live|where am i from|where is my home|do you remember where i live|what is my city",
        "You live in V.",
        "You have not told me where you live.",
    ),
    "project": (
        _pick(W.PROJECTS),
        "my project is called V|i work on a project called V|i am working on V|the name of my project is V|our project is V|we call our project V",
        "Good luck with V!|V is a good name for a project.",
        "what is my project called|what is the name of my project|which project do i work on|what project am i working on|do you remember my project|what am i working on|tell me the name of my project|how is my project called",
        "Your project is called V.",
        "You have not told me about your project.",
    ),
    "colour": (
        _pick(W.COLOURS, 1.0),
        "my favourite colour is V|i like the colour V best|the colour i like most is V|my favorite color is V",
        "V is a fine colour.|I see, you like V.",
        "what is my favourite colour|which colour do i like|what colour do i like best|do you know my favourite colour|tell me my favourite colour|what is my favorite color",
        "Your favourite colour is V.",
        "You have not told me your favourite colour.",
    ),
    "pet": (
        _name,
        "my dog is called V|my cat is called V|my pet is called V|i have a pet named V|the name of my pet is V",
        "V is a nice name for a pet.|Say hello to V from me!",
        "what is my pet called|what is the name of my pet|how is my pet called|do you know the name of my pet|tell me the name of my pet",
        "Your pet is called V.",
        "You have not told me about your pet.",
    ),
    "job": (
        _pick(W.JOBS, 1.0),
        "i work as a V|my job is V|i am a V by profession|i earn my money as a V",
        "Being a V sounds interesting.|A V, that is a fine job.",
        "what is my job|what do i work as|what do i do for a living|do you know my job|tell me my job|what is my profession",
        "You work as a V.",
        "You have not told me your job.",
    ),
    "number": (
        lambda rng: str(rng.randint(2, 9999)),
        "my number is V|remember the number V|the number is V|please remember the number V|keep the number V in mind",
        "I will remember the number V.|The number V, noted.",
        "what is the number|what was the number|which number did i tell you|what is my number|tell me the number|do you remember the number",
        "The number is V.",
        "You have not told me a number.",
    ),
    "food": (
        _pick(W.FOODS, 1.0),
        "i love V|my favourite food is V|i like V best|my favorite food is V",
        "V is a good choice.|I see, you like V.",
        "what is my favourite food|what food do i like|do you know my favourite food|what do i like to eat|tell me my favourite food",
        "Your favourite food is V.",
        "You have not told me your favourite food.",
    ),
    "word": (
        _pick(W.NOUNS, 0.7),
        "remember the word V|the word is V|the code word is V|the password is V|please remember the word V|keep the word V in mind|my secret word is V",
        "I will remember the word V.|The word V, noted.",
        "what is the word|what was the word|which word did i tell you|what is the code word|tell me the word|do you remember the word|what is my secret word|what is the password",
        "The word is V.",
        "You have not told me a word.",
    ),
}
# The name is asked for most, as people do.
WEIGHTS = [8 if slot == "name" else 1 for slot in SLOTS]


def _say(choices: str, value: str, rng: random.Random) -> str:
    """One way of telling it. The value goes in last, so that it keeps its case."""
    text = spoken(expand(_split(choices, rng).replace("V", "@"), rng), rng, tidy=True).rstrip("?.! ")
    return text.replace("@", value) + rng.choice([".", ".", "", "!"])


def _split(choices: str, rng: random.Random) -> str:
    """Alternatives are parted by bars outside brackets."""
    depth, part, parts = 0, "", []
    for c in choices:
        depth += (c == "(") - (c == ")")
        if c == "|" and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += c
    return rng.choice(parts + [part])


def recall(rng: random.Random, filler) -> list[tuple[str, str, str]]:
    """Turns that tell one to three things, perhaps talk of something else, then ask for one of them."""
    told = {}
    for slot in rng.choices(list(SLOTS), WEIGHTS, k=rng.choice([1, 1, 1, 1, 2])):
        told.setdefault(slot, SLOTS[slot][0](rng))
    turns = []
    for slot, value in told.items():
        _, tells, replies, _, _, _ = SLOTS[slot]
        reply = replies.split("|")[0]
        if slot != "number":
            reply = reply.replace("V", value[:1].upper() + value[1:] if reply.startswith("V") else value)
        turns.append([_say(tells, value, rng), reply.replace("V", value), "The user tells me something about themselves."])
        if rng.random() < 0.22:
            turns.append(filler())
    for _ in range(rng.choice([1, 1, 1, 1, 2])):
        if rng.random() < 0.86:
            slot = rng.choice(list(told))
        else:
            slot = rng.choices(list(SLOTS), WEIGHTS)[0]
        answer, never = SLOTS[slot][4], SLOTS[slot][5]
        asked = spoken(expand(f"({SLOTS[slot][3]})", rng), rng)
        if slot in told:
            value = told[slot]
            turns.append((asked, answer.replace("V", value), f"The user told me: {value}."))
        else:
            turns.append((asked, never, "The user has not told me that."))
    # Told and asked in one breath, now and then.
    if len(turns) == 2 and rng.random() < 0.15:
        (first, _, _), (second, answer, why) = turns
        return [(first.rstrip(".!") + ". " + second, answer, why)]
    return turns
