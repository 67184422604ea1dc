"""Which passwords are easy to guess: common ones, and those made of common parts."""

import re
from itertools import pairwise

# Without these parts, a password must have at least this many characters.
REST = 6

# What lists of leaked passwords begin with. Yours may know more words: the name of your service,
# your company or your city. A word counts in any case, and with digits in place of letters.
WORDS = """
    password passwort passwd motdepasse contrasena senha geheim secret secreto
    admin administrator root superuser user username guest login default master access system
    letmein changeme welcome hello trustno iloveyou loveyou lovely love forever sunshine princess
    angel baby dragon monkey shadow superman batman spiderman starwars pokemon naruto minecraft
    football baseball soccer basketball hockey liverpool chelsea arsenal barcelona juventus
    michael jordan daniel jessica charlie ashley thomas robert andrew joshua matthew hunter
    summer winter spring autumn january february october november december monday friday
    computer internet google facebook samsung microsoft windows apple android
    test testing example sample temp demo qwertz azerty
    qwertyuiop qwerty asdfghjkl asdfgh zxcvbnm zxcvbn poiuytrewq
    1q2w3e4r5t6y7u8i9o0p 1q2w3e4r5t6y 1q2w3e4r5t 1q2w3e4r 1q2w3e 1qaz 2wsx 3edc 4rfv 5tgb 6yhn
    qaz wsx edc rfv tgb yhn
"""

LOOKALIKES = str.maketrans("@4301!57$", "aaeoiists")

# The longest first, or "love" would leave the ends of "iloveyou". Years count as words.
_words = re.compile("|".join([*sorted(WORDS.split(), key=len, reverse=True), r"(?:19|20)\d\d"]))
_repetitions = re.compile(r"(.+?)\1+")


def is_common(password: str, *names: str) -> bool:
    """Return whether common words, sequences, repetitions and `names` are most of a password.

    Source: NIST SP 800-63B-4, section 3.1.1.2
    """
    folded = password.casefold()
    return any(
        len(_remove_common_parts(text, names)) < REST
        for text in (folded, folded.translate(LOOKALIKES))
    )


def _remove_common_parts(text: str, names: tuple[str, ...]) -> str:
    for name in names:
        # Of an e-mail address the part before the @. Single letters are not worth removing.
        for part in re.findall(r"\w{3,}", name.casefold().partition("@")[0]):
            text = text.replace(part, "")
    text = _words.sub("", text)
    text = _repetitions.sub(r"\1", text)
    return _remove_sequences(text)


def _remove_sequences(text: str) -> str:
    # A character that is one more or one less than the one before: abcd, 4321.
    rest = (after for before, after in pairwise(text) if abs(ord(after) - ord(before)) > 1)
    return text[:1] + "".join(rest)
