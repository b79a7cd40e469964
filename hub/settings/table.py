"""What every table of practice.toml is."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """One table of practice.toml: frozen, and every key known."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
