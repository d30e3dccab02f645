"""Made-up personal data and secrets, one maker a detector: no real person's, with right check digits, seeded.

A maker returns ``(before, value, after)``: what must stand around the value for anyone to know it for what it is.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

Piece = tuple[str, str, str]
Maker = Callable[[random.Random], Piece]

FIRST = [
    "anna",
    "bob",
    "carla",
    "dieter",
    "eva",
    "frank",
    "grace",
    "hugo",
    "ines",
    "jan",
    "karl",
    "lena",
    "mike",
    "nora",
    "olaf",
    "petra",
    "jürgen",
    "søren",
]
LAST = [
    "mueller",
    "smith",
    "rossi",
    "weber",
    "jones",
    "garcia",
    "novak",
    "larsen",
    "dubois",
    "meyer",
    "fischer",
    "kim",
    "o'brien",
    "strauß",
]
DOMAINS = [
    "example.com",
    "mail.example.org",
    "corp.example.net",
    "kunden.example.de",
    "example.co.uk",
    "bücher.example",
]
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def some(rng: random.Random, letters: str, count: int) -> str:
    return "".join(rng.choices(letters, k=count))


def digits(rng: random.Random, count: int) -> str:
    return some(rng, string.digits, count)


def _bare(make: Callable[[random.Random], str]) -> Maker:
    return lambda rng: ("", make(rng), "")


def _led(leads: str, make: Callable[[random.Random], str]) -> Maker:
    """Return a maker of values beside a word that says what they are (``|`` between the words)."""
    return lambda rng: (rng.choice(leads.split("|")), make(rng), "")


def email(rng: random.Random) -> str:
    local = rng.choice(
        (
            f"{rng.choice(FIRST)}.{rng.choice(LAST)}{rng.randrange(1000)}",
            f"{rng.choice(FIRST)}+{some(rng, string.ascii_lowercase, 4)}",
            f"{rng.choice(FIRST)}_{rng.choice(LAST)}",
            f"{rng.choice(FIRST)[0]}{rng.randrange(10, 99)}",
        )
    )
    return f"{local}@{rng.choice(DOMAINS)}"


def ipv4(rng: random.Random) -> str:
    return (
        f"{rng.choice((10, 172, 192, 81, 93, 203))}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    )


def ipv6(rng: random.Random) -> str:
    groups = [f"{rng.randrange(0x10, 0xFFFF):x}" for _ in range(8)]
    return rng.choice(
        (
            "2001:db8:" + ":".join(groups[:6]),
            f"2001:db8::{groups[0]}:{groups[1]}",
            f"fe80::{groups[2]}:{groups[3]}:{groups[4]}",
            f"2A02:{groups[5].upper()}::1",
            f"::ffff:{ipv4(rng)}",
        )
    )


def iban(rng: random.Random) -> str:
    country, count = rng.choice((("DE", 18), ("AT", 16), ("ES", 20), ("CH", 17), ("PL", 24), ("BE", 12), ("PT", 21)))
    account = digits(rng, count)
    check = 98 - int(account + "".join(str(ord(c) - 55) for c in country) + "00") % 97
    number = f"{country}{check:02d}{account}"
    separator = rng.choice(("", "", " ", "-"))
    return separator.join(number[i : i + 4] for i in range(0, len(number), 4))


def card(rng: random.Random) -> str:
    start, length = rng.choice((("4", 16), ("51", 16), ("37", 15), ("4", 13), ("6011", 16), ("2221", 16), ("3569", 16)))
    body = start + digits(rng, length - len(start) - 1)
    total = sum(int(c) if place % 2 else int(c) * 2 - 9 * (int(c) > 4) for place, c in enumerate(reversed(body)))
    number = body + str(-total % 10)
    if length == 16:
        separator = rng.choice(("", " ", "-"))
        return separator.join(number[i : i + 4] for i in range(0, 16, 4))
    return f"{number[:4]} {number[4:10]} {number[10:]}" if length == 15 and rng.random() < 0.5 else number


def phone(rng: random.Random) -> Piece:
    mobile, area = f"01{rng.choice(('51', '60', '70', '76', '79'))}", rng.choice(("030", "089", "0221", "04101"))
    a, b = str(rng.randrange(1, 10)) + digits(rng, 2), digits(rng, rng.choice((4, 5)))
    abroad = rng.choice(("+49", "+43", "+41", "+33", "+44", "+1"))
    word = rng.choice(
        (
            "Tel. ",
            "tel: ",
            "Telefon: ",
            "phone=",
            "mobile: ",
            "Rufnummer ",
            "Fax ",
            '"phone_number":"',
            "Handy: ",
            "msisdn=",
        )
    )
    after = '"' if word.endswith('"') else ""
    return rng.choice(
        (
            ("", f"{abroad} {area[1:]} {a}{b}", ""),
            ("", f"{abroad}{area[1:]}{a}{b}", ""),
            ("", f"{abroad}-{area[1:]}-{a}-{b}", ""),
            ("", f"+49 (0){mobile[1:]} {a}{b}", ""),
            ("", f"{mobile}-{a}{b}", ""),
            ("", f"{mobile} {a}{b}", ""),
            ("", f"({area}) {a}{b}", ""),
            ("", f"0049 {mobile[1:]} {a}{b}", ""),
            (word, f"{area}/{a}{b}", after),
            (word, f"{area} {a} {b}", after),
            (word, f"{area}-{a}{b}-12", after),
        )
    )


def mac(rng: random.Random) -> str:
    separator = rng.choice(":::-")
    text = separator.join(["02"] + [f"{rng.randrange(256):02x}" for _ in range(5)])
    return rng.choice((text, text.upper()))


def mac_dotted(rng: random.Random) -> str:
    text = "02" + some(rng, HEX, 10)
    return f"{text[:4]}.{text[4:8]}.{text[8:]}"


def tax_id(rng: random.Random) -> str:
    first = rng.sample(string.digits, 9)
    first.append(rng.choice(first))
    while first[0] == "0":
        rng.shuffle(first)
    product = 10
    for digit in first:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    number = "".join(first) + str((11 - product) % 10)
    return rng.choice((number, f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"))


def pension_number(rng: random.Random) -> str:
    letter, serial = rng.choice(string.ascii_uppercase), digits(rng, 2)
    head = f"{rng.randrange(2, 90):02d}{rng.randrange(1, 29):02d}{rng.randrange(1, 13):02d}{digits(rng, 2)}"
    plain = f"{head}{ord(letter) - 64:02d}{serial}"
    products = [w * int(c) for w, c in zip((2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), plain, strict=True)]
    return f"{head}{letter}{serial}{sum(p // 10 + p % 10 for p in products) % 10}"


def _mrz_check(field: str) -> str:
    return str(sum((int(c, 36) if c != "<" else 0) * (7, 3, 1)[i % 3] for i, c in enumerate(field)) % 10)


def travel_document(rng: random.Random) -> str:
    names = f"{rng.choice(LAST[:10])}<<{rng.choice(FIRST[:16])}".upper()
    if rng.random() < 0.5:
        return f"P<UTO{names}".ljust(44, "<")
    birth, expiry = (
        f"{rng.randrange(50, 99)}0{rng.randrange(1, 10)}12",
        f"3{rng.randrange(10)}0{rng.randrange(1, 10)}15",
    )
    number = some(rng, "CFGHJKLMNPRTVWXYZ0123456789", 9)
    body = f"{number}{_mrz_check(number)}UTO{birth}{_mrz_check(birth)}F{expiry}{_mrz_check(expiry)}".ljust(43, "<")
    return body + _mrz_check(body[:10] + body[13:20] + body[21:43])


def private_key(rng: random.Random) -> str:
    kind = rng.choice(("RSA ", "", "EC ", "OPENSSH "))
    lines = r"\n".join(some(rng, ALNUM + "+/", 64) for _ in range(3))
    return rf"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


def jwt(rng: random.Random) -> str:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    signature = some(rng, ALNUM + "-_", 43)
    payload = '{"sub":"' + digits(rng, 9) + '"}'
    return ".".join((part('{"alg":"HS256"}'), part(payload), signature))


def basic(rng: random.Random) -> str:
    return base64.b64encode(f"{rng.choice(FIRST)}:{some(rng, ALNUM, 14)}".encode()).decode()


def service_key(rng: random.Random) -> str:
    word = ALNUM + "_-"
    return rng.choice((
        lambda: "npm_" + some(rng, ALNUM, 36),
        lambda: "pypi-AgEIcHlwaS5vcmc" + some(rng, word, 60),
        lambda: "dckr_pat_" + some(rng, word, 27),
        lambda: "dop_v1_" + some(rng, HEX, 64),
        lambda: f"SG.{some(rng, word, 22)}.{some(rng, word, 43)}",
        lambda: "shpat_" + some(rng, HEX, 32),
        lambda: "sk-ant-api03-" + some(rng, word, 80) + "AA",
        lambda: f"sk-{some(rng, ALNUM, 20)}T3BlbkFJ{some(rng, ALNUM, 20)}",
        lambda: "hf_" + some(rng, string.ascii_letters, 34),
        lambda: "hvs." + some(rng, word, 90),
        lambda: f"{some(rng, ALNUM, 14)}.atlasv1.{some(rng, word, 64)}",
        lambda: "ATATT3xFfGF0" + some(rng, word, 80),
        lambda: "NRAK-" + some(rng, string.ascii_uppercase + string.digits, 27),
        lambda: f"glsa_{some(rng, ALNUM, 32)}_{some(rng, HEX, 8)}",
        lambda: "AGE-SECRET-KEY-1" + some(rng, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
        lambda: "ya29." + some(rng, word, 60),
        lambda: "GOCSPX-" + some(rng, word, 28),
        lambda: f"{some(rng, ALNUM, 3)}8Q~{some(rng, word, 34)}",
        lambda: "dapi" + some(rng, HEX, 32),
        lambda: f"{digits(rng, 10)}:AA{some(rng, word, 33)}",
    ))()  # fmt: skip


def http_cookie(rng: random.Random) -> Piece:
    value = some(rng, ALNUM, 26)
    return rng.choice(
        (
            ("Cookie: theme=dark; sid=", value, ""),
            ("Set-Cookie: SESSION=", value, "; Path=/; HttpOnly"),
            ("connect.sid=s%3A", value, ""),
            ("PHPSESSID=", value, ""),
            ("JSESSIONID=", value, ""),
            ("session_id=", value, ""),
            ("sid=", value, ""),
            ("session=", value, ""),
        )
    )


def command_login(rng: random.Random) -> Piece:
    value = some(rng, ALNUM, 12)
    return rng.choice(
        (
            ("curl -s -u bob:", value, " https://api.example/"),
            ("sshpass -p ", value, " ssh bob@host"),
            ("mysql -h db -u root -p", value, " shop"),
            (r"net use Z: \\srv\share /user:CORP\bob ", value, ""),
            ("PGPASSWORD=", value, " psql -h db"),
            ("tool --password=", value, " --verbose"),
            ("tool --api-key ", value, " run"),
        )
    )


def signature(rng: random.Random) -> Piece:
    return rng.choice(
        (
            ("GET /c/blob?sv=2022-11-02&sig=", some(rng, ALNUM, 40) + "%3D", "&se=2026-12-01"),
            ("SAMLResponse=", "PHNhbWxwOlJlc3BvbnNl" + some(rng, ALNUM + "+/", 200), ""),
            ("Authorization: NTLM ", "TlRMTVNTUAADAAAA" + some(rng, ALNUM + "+/", 60), ""),
            ("Authorization: Negotiate ", "YIIGhgYGKwYBBQUC" + some(rng, ALNUM + "+/", 80), ""),
        )
    )


#: detector → maker of values that may stand anywhere in a text
MAKERS: dict[str, Maker] = {
    "email": _bare(email),
    "ipv4": _bare(ipv4),
    "ipv6": _bare(ipv6),
    "iban": _bare(iban),
    "card": _bare(card),
    "phone": phone,
    "mac": _bare(mac),
    "mac-dotted": _led("mac |address: |Host |station ", mac_dotted),
    "tax-id": _led("Steuer-ID: |tax_id=|IdNr. |Steuerliche Identifikationsnummer |TIN: ", tax_id),
    "pension-number": _led("RVNR |Rentenversicherungsnummer: |sv-nummer=|pension_number=", pension_number),
    "travel-document": _bare(travel_document),
    "bearer": _led("Authorization: Bearer |bearer ", lambda rng: some(rng, ALNUM + "-._~", 40)),
    "basic": _led("Authorization: Basic |Basic ", basic),
    "aws-key": _bare(lambda rng: rng.choice(("AKIA", "ASIA")) + some(rng, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
    "url-login": lambda rng: (
        rng.choice(("postgres://app:", "amqp://:", "https://bob:", "mongodb+srv://u:")), some(rng, ALNUM, 14), "@db.example/x",
    ),
    "private-key": _bare(private_key),
    "jwt": _bare(jwt),
    "github": _bare(lambda rng: rng.choice(("ghp_", "gho_", "ghs_", "github_pat_")) + some(rng, ALNUM, 36)),
    "gitlab": _bare(lambda rng: rng.choice(("glpat-", "gldt-", "glrt-")) + some(rng, ALNUM, 20)),
    "slack": _bare(lambda rng: f"xox{rng.choice('bpas')}-{digits(rng, 12)}-{digits(rng, 12)}-{some(rng, ALNUM, 24)}"),
    "stripe": _bare(lambda rng: rng.choice(("sk_live_", "rk_live_", "whsec_")) + some(rng, ALNUM, 24)),
    "google": _bare(lambda rng: "AIza" + some(rng, ALNUM + "-_", 35)),
    "http-cookie": http_cookie,
    "command-login": command_login,
    "signature": signature,
    "service-key": _bare(service_key),
}  # fmt: skip


def password(rng: random.Random) -> tuple[str, str]:
    key = rng.choice((
        "password", "passwd", "db_password", "pwd", "client_secret", "token", "access_token", "apiKey", "api_key", "secret",
        "DB_PASSWORD", "x-api-key", "passwort", "refreshToken", "credentials", "smtp.password", "AWS_SECRET_ACCESS_KEY",
    ))  # fmt: skip
    return key, some(rng, ALNUM + "-_!$", rng.choice((8, 14, 40))).strip("-") + "7x"


def personal_field(rng: random.Random) -> tuple[str, str]:
    key = rng.choice((
        "first_name", "lastName", "vorname", "nachname", "fullName", "surname", "date_of_birth", "geburtsdatum", "street_address",
        "given_name", "familyName", "strasse",
    ))  # fmt: skip
    if "birth" in key or "geburt" in key:
        return key, f"19{rng.randrange(50, 99)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}"
    return key, rng.choice(FIRST).title() + some(rng, string.ascii_lowercase, 4)


#: detector → maker of (key, value)
PAIR_MAKERS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "password": password,
    "personal-field": personal_field,
}
