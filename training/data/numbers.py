"""Numbers from 0 to 999 as they are said, in four languages."""

from functools import cache

EN_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
EN_TENS = [
    "zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
]  # fmt: skip
DE_SMALL = [
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]  # fmt: skip
DE_TENS = [
    "null", "zehn", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
]  # fmt: skip
FR_SMALL = [
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze",
    "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
]  # fmt: skip
FR_TENS = [
    "zéro", "dix", "vingt", "trente", "quarante", "cinquante", "soixante", "soixante", "quatre-vingt",
    "quatre-vingt",
]  # fmt: skip
ES_SMALL = [
    "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce",
    "trece", "catorce", "quince", "dieciséis", "diecisiete", "dieciocho", "diecinueve", "veinte", "veintiuno",
    "veintidós", "veintitrés", "veinticuatro", "veinticinco", "veintiséis", "veintisiete", "veintiocho",
    "veintinueve",
]  # fmt: skip
ES_TENS = [
    "cero", "diez", "veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa",
]  # fmt: skip
ES_HUNDREDS = [
    "cero", "ciento", "doscientos", "trescientos", "cuatrocientos", "quinientos", "seiscientos", "setecientos",
    "ochocientos", "novecientos",
]  # fmt: skip


def english(n: int, joined: bool = True) -> str:
    """\"three hundred and forty seven"; without `joined`, as in America, no "and"."""
    if n < 20:
        return EN_SMALL[n]
    if n < 100:
        return EN_TENS[n // 10] + (f" {EN_SMALL[n % 10]}" if n % 10 else "")
    rest = english(n % 100) if n % 100 else ""
    return f"{EN_SMALL[n // 100]} hundred" + (f" and {rest}" if rest and joined else f" {rest}" if rest else "")


def _german_pieces(n: int) -> list[str]:
    """A German number's parts as they are spoken, one after the other."""
    hundreds = ["ein" if n < 200 else DE_SMALL[n // 100], "hundert"] if n >= 100 else []
    rest = n % 100
    if rest < 20:
        return [*hundreds, DE_SMALL[rest]] if rest or not hundreds else hundreds
    unit = {0: [], 1: ["ein", "und"]}.get(rest % 10, [DE_SMALL[rest % 10], "und"])
    return [*hundreds, *unit, DE_TENS[rest // 10]]


def german(n: int) -> str:
    """ "dreihundertsiebenundvierzig"."""
    return "".join(_german_pieces(n))


@cache
def _german_numbers() -> dict[str, list[str]]:
    return {german(n): _german_pieces(n) for n in range(1000)}


def german_parts(word: str) -> list[str]:
    """ "dreihundertsiebenundvierzig" as drei, hundert, sieben, und, vierzig; another word as itself."""
    return _german_numbers().get(word, [word])


def french(n: int) -> str:
    """ "trois cent quarante-sept"."""
    if n < 20:
        return FR_SMALL[n]
    if n < 100:
        tens, unit = n // 10, n % 10
        if tens in (7, 9):
            unit += 10
        if n == 80:
            return "quatre-vingts"
        if unit == 0:
            return FR_TENS[tens]
        return FR_TENS[tens] + (" et " if unit in (1, 11) and tens < 8 else "-") + FR_SMALL[unit]
    hundreds = "cent" if n < 200 else f"{FR_SMALL[n // 100]} cent"
    return f"{hundreds} {french(n % 100)}" if n % 100 else hundreds + ("s" if n >= 200 else "")


def spanish(n: int) -> str:
    """ "trescientos cuarenta y siete"."""
    if n < 30:
        return ES_SMALL[n]
    if n < 100:
        return ES_TENS[n // 10] + (f" y {ES_SMALL[n % 10]}" if n % 10 else "")
    if n == 100:
        return "cien"
    return ES_HUNDREDS[n // 100] + (f" {spanish(n % 100)}" if n % 100 else "")


SAY = {"en": english, "de": german, "fr": french, "es": spanish}
