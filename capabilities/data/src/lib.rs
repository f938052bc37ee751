//! `data.*` and `text.*`: pure computations.
