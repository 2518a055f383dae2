"""Every error the project raises on purpose.

    JianweiError
    ├── InvalidInput            what a caller or a person handed in cannot be used
    │   ├── UnreadableFile      a data file: format, encoding, columns
    │   ├── UnwritableFile      a result cannot be written where it was asked for: a full disk, another run's journal
    │   ├── UnknownLabel        a label that the taxonomy does not hold
    │   └── RecipeError         a training recipe
    ├── TaxonomyError           a taxonomy file
    ├── PolicyError             a risk policy file
    ├── BundleError             a model bundle is missing, half-written or damaged
    │   └── BundleMismatch      its taxonomy does not fit its heads
    ├── RegistryError           the model registry refused, or could not be reached
    ├── NotFound                a stored thing that is not there
    ├── Conflict                the same key was used for something else
    │   ├── AlreadyDecided      a person decided before (serving/store/risks.py)
    │   └── Stale               a case went on otherwise, or another has it (serving/store/review_queue.py)
    ├── Forbidden               known, but may not do this (serving/scopes.py)
    ├── SignInRefused           nobody is signed in (serving/access.py)
    ├── Overloaded              too many requests at once: try again later
    ├── NotReady                no model is loaded yet
    ├── StoreError              the database failed (serving/store/database.py, the only room that has one)
    └── …                       errors that only HTTP knows (serving/problems.py)

Messages are for the person who can act on them: what is wrong, where, and what to do.
"""


class JianweiError(Exception):
    """Base of all errors above; `str(error)` is the message, fit to be shown to a user."""


class InvalidInput(JianweiError):
    """What was handed in cannot be used."""


class UnreadableFile(InvalidInput):
    """A data file cannot be read: its format, encoding or columns are at fault."""


class UnwritableFile(InvalidInput):
    """A result cannot be written where it was asked for."""


class UnknownLabel(InvalidInput):
    """A label is not in the taxonomy."""


class RecipeError(InvalidInput):
    """A training recipe is not valid."""


class TaxonomyError(JianweiError):
    """A taxonomy file is not valid."""


class PolicyError(JianweiError):
    """A risk policy file is not valid."""


class BundleError(JianweiError):
    """A model bundle is missing, half-written or damaged."""


class BundleMismatch(BundleError):
    """A bundle's taxonomy does not fit its heads."""


class RegistryError(JianweiError):
    """The model registry refused, or could not be reached."""


class NotFound(JianweiError):
    """A stored thing is not there."""


class Conflict(JianweiError):
    """The same key was used before for something else."""


class Overloaded(JianweiError):
    """More requests are waiting than can be answered in time."""


class NotReady(JianweiError):
    """No model is loaded yet."""
