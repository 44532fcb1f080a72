//! Experiments: plan, runner, record, journal, export. It knows the client and the measures, and no user interface.
