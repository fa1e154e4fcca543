"""The currencies (ISO 4217) that a simulated merchant takes."""

from dataclasses import dataclass

__all__ = ["EUR", "Currency", "find_currency"]


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency."""

    alpha: str
    """The alphabetic code."""
    numeric: str
    """The numeric code."""
    exponent: int = 2
    """The number of decimal places."""

    def format(self, amount: int) -> str:
        """Format an amount of minor units, for people."""
        whole, minor = divmod(amount, 10**self.exponent)
        return f"{self.alpha} {whole}.{minor:0{self.exponent}d}" if self.exponent else f"{self.alpha} {whole}"


EUR = Currency("EUR", "978")

_CURRENCIES = (
    EUR,
    Currency("AED", "784"),
    Currency("AUD", "036"),
    Currency("BHD", "048", 3),
    Currency("BRL", "986"),
    Currency("CAD", "124"),
    Currency("CHF", "756"),
    Currency("CLP", "152", 0),
    Currency("CNY", "156"),
    Currency("CZK", "203"),
    Currency("DKK", "208"),
    Currency("EGP", "818"),
    Currency("GBP", "826"),
    Currency("HUF", "348"),
    Currency("INR", "356"),
    Currency("JOD", "400", 3),
    Currency("JPY", "392", 0),
    Currency("KRW", "410", 0),
    Currency("KWD", "414", 3),
    Currency("MXN", "484"),
    Currency("NOK", "578"),
    Currency("PLN", "985"),
    Currency("RON", "946"),
    Currency("SAR", "682"),
    Currency("SEK", "752"),
    Currency("SGD", "702"),
    Currency("TND", "788", 3),
    Currency("TRY", "949"),
    Currency("USD", "840"),
    Currency("ZAR", "710"),
)
_BY_CODE = {code: currency for currency in _CURRENCIES for code in (currency.alpha, currency.numeric)}


def find_currency(code: str) -> Currency | None:
    """Return the currency of an alphabetic or numeric code."""
    return _BY_CODE.get(code)
