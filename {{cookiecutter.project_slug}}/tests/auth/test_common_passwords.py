import pytest

from app.auth.common_passwords import is_common


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "P@ssw0rdP@ssw0rd",
        "Password 12345678!",
        "aaaaaaaaaaaaaaaa",
        "123456789012345",
        "zyxwvutsrqponmlk",
        "qwertyuiopasdfgh",
        "1q2w3e4r5t6y7u8i",
        "xkcdxkcdxkcdxkcd",
        "iloveyouforever1",
        "Summer2024Winter2025",
        "ada-lovelace-1815",
        "LOVELACE.lovelace",
    ],
)
def test_common_words_sequences_repetitions_and_names_are_common(password: str) -> None:
    assert is_common(password, "ada.lovelace@example.com")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "purple monkey dishwasher",
        "a long password, not a common one",
        "83920174659203847",
        "wkzqjxvbpfmygtd",
        "ada met the countess of",
        "pferd und \u00fcberraschung",
    ],
)
def test_other_passwords_are_not_whatever_characters_they_have(password: str) -> None:
    assert not is_common(password, "ada")


def test_a_name_is_part_of_what_is_easy_to_guess() -> None:
    assert not is_common("grace-hopper-1906")
    assert is_common("grace-hopper-1906", "grace_hopper@example.com") is False
    assert is_common("grace-hopper-1906", "grace-hopper@example.com")


def test_a_short_name_is_not_removed() -> None:
    assert not is_common("wkzqjxvbpfmygtd", "w")
