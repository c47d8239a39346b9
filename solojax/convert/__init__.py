"""Other frameworks' weights -> Flax variables."""

from solojax.convert.state_dict import load_backbone, load_state_dict

__all__ = ["load_backbone", "load_state_dict"]
