//! How far an output has moved: diff and similarity measures (see each measure for its reference), results files. It knows texts, not modules.
