"""What the tests of settings share: a folder of files, and the settings that name them."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Files"]


@dataclass(frozen=True, slots=True)
class Files:
    """A folder with a public and a private file, and settings in TOML that name them."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Files":
        """Write the files that the settings name."""
        made = cls(folder)
        made.public.write_text("public")
        made.private.write_text("private")
        made.private.chmod(0o600)
        return made

    @property
    def public(self) -> Path:
        return self.folder / "public.pem"

    @property
    def private(self) -> Path:
        return self.folder / "private.pem"

    @property
    def toml(self) -> Path:
        return self.folder / "d1-gateway.toml"

    def write(self, *, top: str = "", edge: str = "", d1: str = "", issuer: str = "ISSUER0001", rest: str = "") -> Path:
        """Write the settings: the least that is needed, with lines put at the top, into tables, and at the end."""
        self.toml.write_text(
            f"""
{top}
[access]
policy_file = "{self.public}"
tokens = {{ issuer = "https://issuer.example", jwks_file = "{self.public}" }}
[edge]
tls_certificate_file = "{self.public}"
tls_key_file = "{self.private}"
tls_client_ca_file = "{self.public}"
{edge}
[d1]
tls_certificate_file = "{self.public}"
tls_key_file = "{self.private}"
{d1}
[[issuers."{issuer}".assertion_keys]]
file = "{self.private}"
kid = "assertion-1"
[[issuers."{issuer}".d1_encryption_keys]]
file = "{self.public}"
kid = "encryption-1"
{rest}
""",
            encoding="utf-8",
        )
        return self.toml
