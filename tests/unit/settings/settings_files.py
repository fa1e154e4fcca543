"""What the tests of settings share: a folder of files, and the settings that name them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load


@dataclass(frozen=True, slots=True)
class Files:
    """A folder with a public and a private file, and settings in TOML that name them."""

    folder: Path
    public: Path
    private: Path
    toml: Path

    @classmethod
    def make(cls, folder: Path) -> "Files":
        made = cls(folder, folder / "public.pem", folder / "private.pem", folder / "d1-gateway.toml")
        made.public.write_text("public")
        made.private.write_text("private")
        made.private.chmod(0o600)
        return made

    def write(self, *, top: str = "", edge: str = "", d1: str = "", issuer: str = "ISSUER0001", rest: str = "") -> Path:
        """Write the settings: the least that is needed, with lines put at the top, into tables, and at the end."""
        text = f"""
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
"""
        self.toml.write_text(self.filled(text), encoding="utf-8")
        return self.toml

    def filled(self, text: str) -> str:
        """Put paths in the place of {public}, {private}, {toml} and {folder}."""
        for name in ("public", "private", "toml", "folder"):
            text = text.replace(f"{{{name}}}", str(getattr(self, name)))
        return text

    def write_changed(self, old: str, new: str) -> Path:
        text = self.write().read_text()
        assert old in text
        self.toml.write_text(text.replace(old, new))
        return self.toml

    def write_tokens(self, line: str) -> Path:
        return self.write_changed(f'issuer = "https://issuer.example", jwks_file = "{self.public}"', line)

    def load(self, **lines: str) -> Settings:
        return load(self.write(**lines))

    def mistakes(self, **lines: str) -> list[str]:
        return mistakes_of(self.write(**lines))

    def other(self, name: str, mode: int) -> Path:
        file = self.folder / name
        file.write_text("key")
        file.chmod(mode)
        return file


def mistakes_of(file: Path | None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(file)
    return caught.value.mistakes
