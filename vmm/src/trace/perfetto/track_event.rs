//! Packets of a Perfetto trace: tracks, slices, instants, counters, flows.
//!
//! Field numbers are those of `protos/perfetto/trace` in Perfetto's sources: `trace.proto`, `trace_packet.proto`,
//! `track_descriptor.proto`, `counter_descriptor.proto`, `track_event.proto`, `debug_annotation.proto`.

use super::protobuf::Message;
use std::io::{self, Write};

/// All packets come from one writer.
const SEQUENCE: u64 = 1;

/// A track's number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Track(pub(super) u64);

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrackKind {
    /// Slices and instants, or other tracks.
    Slices,
    /// A number of bytes.
    Bytes,
}

/// An event on a track.
#[derive(Debug)]
pub(super) struct TrackEvent(Message);

/// TrackEvent.Type
const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

impl TrackEvent {
    fn new(track: Track, kind: u64) -> Self {
        TrackEvent(Message::default().number(9, kind).number(11, track.0))
    }

    /// A slice begins.
    pub(super) fn begin(track: Track, name: &str) -> Self {
        TrackEvent(Self::new(track, SLICE_BEGIN).0.text(23, name))
    }

    /// The innermost slice of the track ends.
    pub(super) fn end(track: Track) -> Self {
        Self::new(track, SLICE_END)
    }

    /// Something that takes no time.
    pub(super) fn instant(track: Track, name: &str) -> Self {
        TrackEvent(Self::new(track, INSTANT).0.text(23, name))
    }

    /// The value of a counter from now on.
    pub(super) fn counter(track: Track, value: u64) -> Self {
        TrackEvent(Self::new(track, COUNTER).0.number(30, value))
    }

    /// An arrow comes from the last event of this flow and goes on.
    pub(super) fn flow(self, id: u64) -> Self {
        TrackEvent(self.0.fixed(47, id))
    }

    /// An arrow comes from the last event of this flow and ends.
    pub(super) fn flow_end(self, id: u64) -> Self {
        TrackEvent(self.0.fixed(48, id))
    }

    /// An argument: text.
    pub(super) fn text(self, name: &str, value: &str) -> Self {
        TrackEvent(self.0.message(4, &Message::default().text(10, name).text(6, value)))
    }

    /// An argument: a number in hexadecimal.
    pub(super) fn address(self, name: &str, value: u32) -> Self {
        let annotation = Message::default().text(10, name).number(7, value.into());
        TrackEvent(self.0.message(4, &annotation))
    }

    /// An argument: a count.
    pub(super) fn count(self, name: &str, value: u64) -> Self {
        TrackEvent(self.0.message(4, &Message::default().text(10, name).number(3, value)))
    }
}

/// Writes packets.
pub(super) struct Packets<W> {
    out: W,
    tracks: u64,
    begun: bool,
}

impl<W: Write> Packets<W> {
    pub(super) fn new(out: W) -> Self {
        Packets { out, tracks: 0, begun: false }
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn packet(&mut self, packet: Message) -> io::Result<()> {
        /// SEQ_INCREMENTAL_STATE_CLEARED: nothing before the first packet is referred to.
        const CLEARED: u64 = 1;
        let mut packet = packet.number(10, SEQUENCE);
        if !std::mem::replace(&mut self.begun, true) {
            packet = packet.number(13, CLEARED);
        }
        self.out.write_all(Message::default().message(1, &packet).bytes())
    }

    /// A new track under another, or at the top.
    pub(super) fn track(
        &mut self,
        name: &str,
        parent: Option<Track>,
        kind: TrackKind,
    ) -> io::Result<Track> {
        /// CounterDescriptor.Unit: UNIT_SIZE_BYTES.
        const SIZE_BYTES: u64 = 3;
        self.tracks += 1;
        let track = Track(self.tracks);
        let mut descriptor = Message::default().number(1, track.0).text(2, name);
        if let Some(parent) = parent {
            descriptor = descriptor.number(5, parent.0);
        }
        if kind == TrackKind::Bytes {
            descriptor = descriptor.message(8, &Message::default().number(3, SIZE_BYTES));
        }
        self.packet(Message::default().message(60, &descriptor))?;
        Ok(track)
    }

    /// An event at a time, in nanoseconds.
    pub(super) fn event(&mut self, time: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(Message::default().number(8, time).message(11, &event.0))
    }
}
