//! What a run has open before there is a machine: whatever is wrong with a file is told at once, and nothing has been
//! emptied yet.

use super::super::arguments::RunOptions;
use super::super::dialogue;
use super::super::failure::Failure;
use super::destinations::Destinations;
use super::guest::RequestedGuest;
use super::recording::Recorded;
use esp0::gdb::Listener;
use esp0::machine::StopRequest;
use std::path::Path;
use std::time::Instant;

/// What is read, written and listened to.
pub(super) struct Opened<'a> {
    pub(super) guest: RequestedGuest<'a>,
    /// What is to be replayed, if anything is.
    pub(super) replayed: Recorded,
    pub(super) destinations: Destinations,
    pub(super) gdb: Option<Listener>,
    /// Signals request it from here on.
    pub(super) stop: StopRequest,
}

impl<'a> Opened<'a> {
    /// Opens what the options name: inputs first, since no destination may be one of them.
    pub(super) fn open(kernel: Option<&Path>, options: &'a RunOptions) -> Result<Self, Failure> {
        let steps = dialogue::asked_for(options)?;
        let until = options.timeout.map(|timeout| Instant::now() + timeout);
        let guest = RequestedGuest::open(kernel, options, steps)?;
        let stop = StopRequest::default();
        stop.on_signals()?;
        let replayed = Recorded::replayed(options)?;
        let destinations = Destinations::open(options, &guest.input, until, &stop)?;
        let gdb = options.gdb.as_deref().map(listen).transpose()?;
        Ok(Opened { guest, replayed, destinations, gdb, stop })
    }
}

/// Listens where gdb is to come to.
fn listen(address: &str) -> Result<Listener, Failure> {
    Listener::open(address).map_err(|error| {
        let hint = if Path::new(address).is_file() { "; the kernel goes before --gdb" } else { "" };
        Failure::Input(format!("no gdb can be waited for at {address}: {error}{hint}"))
    })
}
