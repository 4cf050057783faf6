//! The file is read back by a decoder of others (prost), with messages declared after Perfetto's own files.

use super::super::schema::{HeaderRecord, PlaceRecord, samples};
use super::*;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, Message)]
struct Trace {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<Event>,
    #[prost(uint32, optional, tag = "13")]
    sequence_flags: Option<u32>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
    #[prost(message, optional, tag = "8")]
    counter: Option<CounterDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct CounterDescriptor {
    #[prost(int32, optional, tag = "3")]
    unit: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    #[prost(int32, optional, tag = "9")]
    r#type: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
    #[prost(int64, optional, tag = "30")]
    counter_value: Option<i64>,
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    flow_ids: Vec<u64>,
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    terminating_flow_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(uint64, optional, tag = "3")]
    uint_value: Option<u64>,
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(uint64, optional, tag = "7")]
    pointer_value: Option<u64>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
}

/// An entry of `task` whose frame of five words begins at `address`.
fn entry(sequence: u64, task: u32, vector: u8, from_ring: u8, address: u32) -> Record {
    let mut words = [1; 40];
    words[20] = 0x50;
    let (entry, _) = samples::some_entry(words, [sequence, sequence * 10], task);
    let mut record =
        EntryRecord { vector, from_ring, to_ring: 0, ..EntryRecord::new(&entry, task) };
    record.kind = if vector == 0x20 { Kind::External } else { Kind::Software };
    record.frame.address = address;
    Record::Entry(Box::new(record))
}

fn leave(after: u64, task: u32, to_ring: u8, address: u32) -> Record {
    let mut words = [1; 40];
    words[20] = 0x50;
    let (returning, _) = samples::some_return(words, [after, after * 10 + 1], task);
    let mut record = ReturnRecord::new(&returning, task);
    (record.from_ring, record.to_ring, record.frame.address) = (0, to_ring, address);
    Record::Return(Box::new(record))
}

fn converted(records: &[Record], clock: &str) -> Trace {
    let header = HeaderRecord { clock: clock.into(), kernel: "k".into(), ..HeaderRecord::new() };
    let mut bytes = Record::Header(header).to_line();
    bytes.extend(records.iter().flat_map(Record::to_line));
    let mut reader = TraceReader::new(&*bytes).unwrap();
    let file = to_perfetto(&mut reader, Vec::new()).unwrap();
    Trace::decode(&*file).unwrap()
}

/// The run of two tasks: a nested interrupt in a system call of task 1, and a switch to task 2 and back.
fn run() -> Vec<Record> {
    vec![
        leave(0, 1, 3, 0x7fec),
        Record::Place(PlaceRecord {
            address: 0,
            used: PlaceUse::Code,
            task: 0,
            program: None,
            symbol: "handler".into(),
            offset: 0,
            file: None,
            line: None,
        }),
        entry(1, 1, 0x80, 3, 0x7fec),
        entry(2, 1, 0x20, 0, 0x7f00),
        leave(2, 2, 3, 0x9fec),
        entry(3, 2, 0x20, 3, 0x9fec),
        leave(3, 1, 0, 0x7f00),
        leave(3, 1, 3, 0x7fec),
        Record::Console(super::super::schema::ConsoleRecord::new(b"hello\n".to_vec())),
        entry(4, 1, 0x80, 3, 0x7fec),
        Record::End(Box::new(samples::end())),
    ]
}

#[test]
fn slices_are_nested_on_tracks_that_are_declared() {
    for clock in ["deterministic", "real"] {
        let trace = converted(&run(), clock);
        assert_eq!(trace.packet[0].sequence_flags, Some(1));
        let mut tracks: BTreeMap<u64, TrackDescriptor> = BTreeMap::new();
        let (mut open, mut last) = (BTreeMap::<u64, usize>::new(), 0);
        for packet in &trace.packet {
            assert_eq!(packet.trusted_packet_sequence_id, Some(1));
            if let Some(track) = &packet.track_descriptor {
                let parent = track.parent_uuid;
                assert!(parent.is_none_or(|parent| tracks.contains_key(&parent)), "{track:?}");
                assert!(tracks.insert(track.uuid.unwrap(), track.clone()).is_none());
                continue;
            }
            let event = packet.track_event.as_ref().expect("an event or a track");
            let (track, time) = (event.track_uuid.unwrap(), packet.timestamp.unwrap());
            assert!(tracks.contains_key(&track) && time >= last, "{event:?}");
            last = time;
            let open = open.entry(track).or_default();
            match event.r#type.unwrap() {
                1 => *open += 1,
                2 => *open = open.checked_sub(1).expect("a slice that began"),
                3 => {}
                4 => assert_eq!(tracks[&track].counter.as_ref().unwrap().unit, Some(3)),
                other => panic!("an event of type {other}"),
            }
        }
        assert!(open.values().all(|open| *open == 0), "{open:?}");
        let names: BTreeSet<&str> =
            tracks.values().map(|track| track.name.as_deref().unwrap()).collect();
        for name in ["kernel stack of task 1", "kernel stack of task 2", "task 1", "interrupts"] {
            assert!(names.contains(name), "no {name} in {names:?}");
        }
    }
}

#[test]
fn arrows_lead_from_each_entry_to_its_iret_and_from_the_injection_before_it() {
    let trace = converted(&run(), "deterministic");
    let events: Vec<&Event> =
        trace.packet.iter().filter_map(|packet| packet.track_event.as_ref()).collect();
    let of = |id: u64| -> Vec<&str> {
        events
            .iter()
            .filter(|event| {
                event.flow_ids.contains(&id) || event.terminating_flow_ids.contains(&id)
            })
            .map(|event| event.name.as_deref().unwrap())
            .collect()
    };
    assert_eq!(of(2), ["external 0x20", "external 0x20", "IRET"]);
    assert_eq!(of(3), ["external 0x20", "external 0x20"], "it is never returned from");
    assert_eq!(of(1), ["int 0x80", "IRET"], "nobody injects a system call");
    assert_eq!(of(4), ["int 0x80"]);
}

#[test]
fn each_line_of_the_console_is_an_event_of_its_own() {
    let text = b"one\r\ntwo\n\n\x1b[2Jthree".to_vec();
    let trace =
        converted(&[Record::Console(super::super::schema::ConsoleRecord::new(text))], "real");
    let events = trace.packet.iter().filter_map(|packet| packet.track_event.as_ref());
    let names: Vec<&str> = events.filter_map(|event| event.name.as_deref()).collect();
    assert_eq!(names, ["one", "two", "\\x1b[2Jthree"]);
}

#[test]
fn the_depth_of_a_stack_is_counted_in_bytes() {
    let trace = converted(&run(), "deterministic");
    let depths: Vec<i64> = trace
        .packet
        .iter()
        .filter_map(|packet| packet.track_event.as_ref()?.counter_value)
        .collect();
    assert_eq!(depths, [20, 0x100, 20, 0xec, 0, 20]);
    let text: Vec<&DebugAnnotation> = trace
        .packet
        .iter()
        .filter_map(|packet| packet.track_event.as_ref())
        .flat_map(|event| &event.debug_annotations)
        .collect();
    let named = |name: &str| text.iter().find(|one| one.name.as_deref() == Some(name)).unwrap();
    assert_eq!(named("entry").uint_value, Some(1));
    assert!(named("frame").pointer_value.is_some());
    assert_eq!(named("rings").string_value.as_deref(), Some("0 to 3"));
}
