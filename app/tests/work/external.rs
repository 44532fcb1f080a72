//! Control by other programs: packets of python-osc over UDP, floods, ports in use, and what is sent in return.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rosc::{OscPacket, OscType, decoder};
use softprefix::bridge::osc;
use softprefix::model::{
    Endpoint, Envelope, ExternalCommand, ExternalError, ExternalState, LIVE_DELAY, Mapped, Mapping, Notification,
    PrefixForm, RunKind,
};
use softprefix::recording::{Line, Recording};
use softprefix::workbench::external::Link;
use softprefix::workbench::{Action, ExternalAction, Notice, PlaybackAction, Workbench};
use softprefix_core::prefix::Magnitude::TokenNorms;

use crate::recording::{end_into, harness as recording_harness};
use crate::support::{Harness, LONG, at, serve, tiny_model};

/// The packets of `tests/osc/make_packets.py` by their names.
pub fn packets() -> BTreeMap<String, Vec<u8>> {
    by_name(include_str!("../osc/packets.json"))
}

/// What is to be sent, as python-osc encodes it.
pub fn sent_by_python() -> BTreeMap<String, Vec<u8>> {
    by_name(include_str!("../osc/notifications.json"))
}

fn by_name(file: &str) -> BTreeMap<String, Vec<u8>> {
    let file: BTreeMap<String, String> = serde_json::from_str(file).unwrap();
    file.into_iter()
        .map(|(name, hex)| (name, hex::decode(hex).unwrap()))
        .collect()
}

fn external(action: ExternalAction) -> Action {
    Action::External(action)
}

/// Opens a socket of any free port, and returns its address.
fn listen(harness: &mut Harness) -> SocketAddr {
    harness.apply(external(ExternalAction::SetListen("127.0.0.1:0".to_owned())));
    harness.apply(external(ExternalAction::Open));
    harness.until("the socket", |workbench| {
        matches!(workbench.external.link, Link::Open { .. })
    });
    let Link::Open {
        listen: Some(address), ..
    } = harness.workbench.external.link
    else {
        panic!("no socket listens");
    };
    assert!(address.ip().is_loopback());
    address
}

/// A program that sends and receives OSC.
pub struct Peer {
    socket: UdpSocket,
    pub to: SocketAddr,
}

impl Peer {
    pub fn of(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, to }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.to).unwrap();
    }

    /// What has arrived.
    pub fn datagrams(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 65_536];
        let mut out = Vec::new();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            out.push(buffer[..len].to_vec());
        }
        out
    }

    /// What has arrived: names and values.
    fn received(&self) -> Vec<(String, OscType)> {
        let messages = self.datagrams().into_iter().map(|datagram| {
            let (rest, packet) = decoder::decode_udp(&datagram).unwrap();
            assert!(rest.is_empty());
            let OscPacket::Message(message) = packet else {
                panic!("a bundle was sent");
            };
            let [value] = <[OscType; 1]>::try_from(message.args).unwrap();
            (message.addr.strip_prefix("/softprefix/").unwrap().to_owned(), value)
        });
        messages.collect()
    }
}

fn sent(harness: &mut Harness, peer: &Peer, packet: &[u8]) {
    let before = harness.workbench.external.packets;
    peer.send(packet);
    harness.until("the packet", |workbench| workbench.external.packets > before);
}

#[test]
fn every_packet_of_python_osc_is_read_as_it_was_meant_and_bad_ones_are_refused() {
    use ExternalCommand::{Blend, Len, Magnitude, Preset, Prompt, Row, Run, Seed};
    let packets = packets();
    for (name, commands) in [
        ("magnitude", vec![Magnitude(2.5)]),
        ("magnitude as a double", vec![Magnitude(0.1)]),
        ("magnitude as an integer", vec![Magnitude(3.0)]),
        ("p", vec![Len(4.0)]),
        ("p as a float", vec![Len(f64::from(3.6_f32))]),
        ("seed", vec![Seed(7)]),
        ("seed as a long", vec![Seed(1 << 40)]),
        ("row", vec![Row(2, 0.25)]),
        ("blend", vec![Blend(0.75)]),
        ("prompt", vec![Prompt("海について短く書いてください。".to_owned())]),
        ("preset", vec![Preset(2)]),
        ("run", vec![Run(true)]),
        ("run pressed", vec![Run(true)]),
        ("run as true", vec![Run(true)]),
        ("run released", vec![Run(false)]),
        (
            "all at once",
            vec![Len(2.0), Row(1, 1.0), Row(2, 0.5), Magnitude(1.5), Run(true)],
        ),
    ] {
        assert_eq!(osc::parse(&packets[name]), Ok(commands), "{name}");
    }
    let bad: Vec<&String> = packets.keys().filter(|name| name.starts_with("bad: ")).collect();
    assert_eq!((bad.len(), packets.len()), (12, 28), "no packet is left out");
    for name in bad {
        assert!(osc::parse(&packets[name]).is_err(), "{name}");
    }
}

#[test]
fn every_notification_has_the_bytes_that_python_osc_gives_it() {
    let expected = sent_by_python();
    let notifications = [
        Notification::State(ExternalState::Idle),
        Notification::Token(" the".to_owned()),
        Notification::Text("海は彼の名を知っていた。".to_owned()),
        Notification::Similarity(73.25),
        Notification::Error("The module is lost.".to_owned()),
    ];
    for notification in &notifications {
        let sent = osc::datagram(notification).unwrap();
        assert_eq!(hex::encode(sent), hex::encode(&expected[notification.name()]));
    }
    assert_eq!(expected.len(), notifications.len(), "no packet is left out");
}

#[test]
fn packets_move_the_controls_as_the_window_does_and_bad_ones_are_counted_and_move_nothing() {
    let packets = packets();
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    let peer = Peer::of(listen(&mut harness));
    for name in ["p", "seed", "row", "blend", "prompt", "magnitude"] {
        sent(&mut harness, &peer, &packets[name]);
    }
    let form = &harness.workbench.prefix;
    assert_eq!((form.len, form.seed, form.blend, form.magnitude), (4, 7, 0.75, 2.5));
    assert_eq!(form.envelope.bars(4), [1.0, 0.25, 1.0, 1.0]);
    assert_eq!(harness.workbench.prompt.user, "海について短く書いてください。");
    sent(&mut harness, &peer, &packets["preset"]);
    assert_eq!(harness.workbench.prompt.preset(), Some(1));
    // A mapping of what a fader sends.
    let mapping = Mapping {
        on: true,
        from: [0.0, 5.0],
        to: [1.0, 2.0],
    };
    harness.apply(external(ExternalAction::SetMapping(Mapped::Magnitude, mapping)));
    sent(&mut harness, &peer, &packets["magnitude"]);
    assert_eq!(harness.workbench.prefix.magnitude, 1.5);

    let before = (harness.workbench.prefix.clone(), harness.workbench.prompt.clone());
    let refused = harness.workbench.external.refused;
    let bad: Vec<&Vec<u8>> = packets
        .iter()
        .filter(|(name, _)| name.starts_with("bad: "))
        .map(|(_, packet)| packet)
        .collect();
    for packet in &bad {
        sent(&mut harness, &peer, packet);
    }
    assert_eq!(harness.workbench.external.refused, refused + bad.len() as u64);
    assert!(harness.workbench.external.why.is_some());
    assert_eq!(
        (harness.workbench.prefix.clone(), harness.workbench.prompt.clone()),
        before
    );
    // A row that the prefix does not have.
    sent(&mut harness, &peer, &osc_packet("/softprefix/row/9", 0.0));
    assert_eq!(harness.workbench.prefix, before.0);
    // A single row has no envelope; that of several rows stays.
    sent(&mut harness, &peer, &osc_packet("/softprefix/p", 1.0));
    sent(&mut harness, &peer, &osc_packet("/softprefix/row/1", 0.3));
    sent(&mut harness, &peer, &osc_packet("/softprefix/p", 4.0));
    assert_eq!(harness.workbench.prefix, before.0);
}

fn osc_packet(address: &str, value: f32) -> Vec<u8> {
    rosc::encoder::encode(&OscPacket::Message(rosc::OscMessage {
        addr: address.to_owned(),
        args: vec![OscType::Float(value)],
    }))
    .unwrap()
}

#[test]
fn a_run_that_a_packet_starts_is_sent_to_the_named_address_token_by_token_and_nothing_is_sent_elsewhere() {
    let packets = packets();
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    let peer = Peer::of(listen(&mut harness));
    let other_sender = Peer::of(peer.to);
    other_sender.send(&packets["seed"]);
    harness.until("the packet", |workbench| workbench.external.packets == 1);
    harness.apply(external(ExternalAction::SetSendTo(peer.address().to_string())));
    harness.until("both sockets", |workbench| {
        matches!(workbench.external.link, Link::Open { send_to: Some(_), .. })
    });
    let Link::Open {
        listen: Some(address), ..
    } = harness.workbench.external.link
    else {
        panic!("no socket listens");
    };
    let peer = Peer { to: address, ..peer };
    sent(&mut harness, &peer, &packets["all at once"]);
    let similarity = |workbench: &Workbench| workbench.tuning.current()?.1.measures.as_ref().map(|m| m.chrf2);
    harness.until("the run", |workbench| {
        !workbench.is_running() && similarity(workbench).is_some()
    });
    let mut received = peer.received();
    let until = Instant::now() + LONG;
    while received.last() != Some(&("state".to_owned(), OscType::String("idle".to_owned()))) || received.len() < 3 {
        assert!(Instant::now() < until, "{received:?}");
        harness.turn();
        received.extend(peer.received());
    }
    let text = |name: &str| -> Vec<String> {
        let of = received.iter().filter(|(of, _)| of == name);
        of.map(|(_, value)| value.clone().string().unwrap()).collect()
    };
    let record = harness.finished(RunKind::Prefixed).pop().unwrap();
    assert_eq!(text("token").concat(), record.output());
    assert_eq!(text("text"), [record.output()]);
    assert_eq!(text("state"), ["idle", "running", "idle"]);
    let sent: Vec<f32> = received
        .iter()
        .filter(|(name, _)| name == "similarity")
        .map(|(_, value)| value.clone().float().unwrap())
        .collect();
    assert_eq!(sent, [similarity(&harness.workbench).unwrap() as f32]);
    assert_eq!(other_sender.received(), []);
    // A point that is shown again is sent again.
    harness.apply(Action::SetMagnitude(0.7));
    harness.run();
    peer.received();
    harness.apply(Action::SetMagnitude(1.5));
    harness.until("the diff", |workbench| workbench.diff.is_some());
    let again = ("text".to_owned(), OscType::String(record.output().to_owned()));
    let end = Instant::now() + LONG;
    while !peer.received().contains(&again) {
        assert!(Instant::now() < end, "the text is not sent again");
        harness.turn();
    }
}

#[test]
fn packets_move_the_magnitude_and_run_while_the_presenter_is_shown() {
    let packets = packets();
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.run();
    let peer = Peer::of(listen(&mut harness));
    harness.apply(Action::Present(true));
    sent(&mut harness, &peer, &packets["magnitude"]);
    assert_eq!(harness.workbench.prefix.magnitude, 2.5);
    let before = harness.finished(RunKind::Prefixed).len();
    sent(&mut harness, &peer, &packets["run"]);
    harness.until("the run", |workbench| {
        let (record, _) = workbench.tuning.current().unwrap();
        !workbench.is_running()
            && record
                .prefix
                .as_ref()
                .is_some_and(|prefix| prefix.recipe.magnitude == TokenNorms(2.5))
    });
    assert_eq!(harness.finished(RunKind::Prefixed).len(), before + 1);
    assert!(harness.workbench.presenting, "the Presenter stays");
    harness.apply(Action::Present(false));
    assert_eq!(harness.workbench.prefix.magnitude, 2.5);
}

#[test]
fn in_live_mode_values_that_never_rest_start_a_run_at_most_once_a_delay_and_are_not_put_off_for_ever() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMaxTokens(2));
    harness.run();
    harness.apply(Action::SetLive(true));
    let peer = Peer::of(listen(&mut harness));
    let before = harness.started(RunKind::Prefixed);
    let (begin, time) = (Instant::now(), LIVE_DELAY * 10);
    let mut value = 1.0;
    while begin.elapsed() < time {
        value += 0.001;
        peer.send(&osc_packet("/softprefix/magnitude", value));
        harness.turn();
    }
    harness.until("the last value", |workbench| {
        (workbench.prefix.magnitude - f64::from(value)).abs() < 1e-9
    });
    harness.until("the last run", |workbench| !workbench.is_running());
    let started = harness.started(RunKind::Prefixed) - before;
    let most = begin.elapsed().as_millis() / LIVE_DELAY.as_millis() + 2;
    assert!(
        (2..=most as usize).contains(&started),
        "{started} runs of at most {most}"
    );
}

#[test]
fn a_port_in_use_is_reported_and_the_next_one_opens() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut harness = Harness::new();
    harness.apply(external(ExternalAction::SetListen(address.clone())));
    harness.apply(external(ExternalAction::Open));
    harness.until("the refusal", |workbench| {
        matches!(workbench.notice, Some(Notice::Problem(_)))
    });
    let Some(Notice::Problem(problem)) = harness.workbench.notice.take() else {
        panic!("no problem is shown");
    };
    let sentence = problem.sentence();
    assert_eq!(
        sentence.en,
        format!(
            "{address} is in use by another program, so no OSC is received. Close that program, or choose another port here and in the sender."
        )
    );
    assert!(sentence.ja.contains("使用中"));
    assert_eq!(harness.workbench.external.link, Link::Off);
    listen(&mut harness);
    // Closed and opened on the same port.
    let Link::Open {
        listen: Some(address), ..
    } = harness.workbench.external.link
    else {
        panic!("no socket listens");
    };
    harness.apply(external(ExternalAction::SetListen(address.to_string())));
    for _ in 0..5 {
        harness.apply(external(ExternalAction::Close));
        harness.apply(external(ExternalAction::Open));
    }
    harness.until("the socket", |workbench| {
        matches!(workbench.external.link, Link::Open { .. })
    });
    assert!(harness.workbench.notice.is_none(), "{:?}", harness.workbench.notice);
    harness.apply(external(ExternalAction::Close));
    let end = Instant::now() + LONG;
    while UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < end, "the port is not given back");
        harness.turn();
    }
}

#[test]
fn a_flood_of_packets_is_counted_bounded_and_leaves_the_window_responsive_and_no_bad_packet_in_it_is_obeyed_in_part() {
    const ROUNDS: usize = 70_000;
    const SENT: u64 = 3 * ROUNDS as u64;
    let packets = packets();
    let rows: Vec<Vec<u8>> = (1..=1024)
        .map(|row| osc_packet(&format!("/softprefix/row/{row}"), 0.5))
        .collect();
    let bad = packets.iter().filter(|(name, _)| name.starts_with("bad: "));
    let bad: Vec<Vec<u8>> = bad.map(|(_, packet)| packet.clone()).collect();
    let mut harness = Harness::new();
    let peer = Peer::of(listen(&mut harness));
    // Rows change the envelope alone.
    let others = |workbench: &Workbench| {
        let (prefix, envelope) = (workbench.prefix.clone(), Envelope::Flat);
        (PrefixForm { envelope, ..prefix }, workbench.prompt.clone())
    };
    let before = others(&harness.workbench);
    let begin = Instant::now();
    let flood = std::thread::spawn({
        let socket = peer.socket.try_clone().unwrap();
        let (to, run) = (peer.to, packets["run"].clone());
        move || {
            for round in 0..ROUNDS {
                for packet in [&rows[round % rows.len()], &run, &bad[round % bad.len()]] {
                    // A full buffer of the receiver is no error of the sender.
                    socket.send_to(packet, to).unwrap();
                }
            }
            begin.elapsed()
        }
    });
    let (mut deliveries, mut longest) = (0_u128, Duration::ZERO);
    while !flood.is_finished() {
        let (packets, turn) = (harness.workbench.external.packets, Instant::now());
        harness.turn();
        longest = longest.max(turn.elapsed());
        deliveries += u128::from(harness.workbench.external.packets > packets);
        assert!(harness.workbench.external.last.len() <= 8);
        assert_eq!(others(&harness.workbench), before);
    }
    let rate = SENT as f64 / flood.join().unwrap().as_secs_f64();
    let most = begin.elapsed().as_millis() / LIVE_DELAY.as_millis() + 2;
    assert!(deliveries <= most, "{deliveries} deliveries of at most {most}");
    assert!(
        longest < Duration::from_secs(2),
        "a turn of the window took {longest:?}"
    );
    if std::env::var_os("SOFTPREFIX_TEST_LONG").is_some() {
        assert!(rate >= 100_000.0, "only {rate:.0} packets a second were sent");
    }
    // What the system dropped is resent by a real sender with its next value.
    let end = Instant::now() + LONG;
    while harness.workbench.prefix.magnitude != 2.5 {
        assert!(Instant::now() < end);
        peer.send(&packets["magnitude"]);
        harness.turn();
    }
    // How many of each kind the system dropped is not known.
    let (counted, refused) = (harness.workbench.external.packets, harness.workbench.external.refused);
    assert!(counted > 1000, "{counted} packets were counted");
    assert!(
        (100..=SENT / 3).contains(&refused),
        "{refused} of {counted} were refused"
    );
    assert!(counted - refused > 100, "{refused} of {counted} were refused");
    println!("{counted} of {SENT} packets at {rate:.0} a second, {refused} refused, longest turn {longest:?}");
}

#[test]
fn a_recording_contains_received_commands_and_plays_to_the_same_end() {
    let packets = packets();
    let folder = tempfile::tempdir().unwrap();
    let mut harness = recording_harness(folder.path());
    harness.connect(at(serve(tiny_model())));
    let peer = Peer::of(listen(&mut harness));
    harness.apply(Action::ToggleRecording);
    sent(&mut harness, &peer, &packets["all at once"]);
    harness.until("the run", |workbench| {
        !workbench.is_running() && workbench.diff.is_some()
    });
    let path = folder.path().join("session.jsonl");
    let shown = (
        harness.workbench.prefix.clone(),
        harness.workbench.prefixed.text.clone(),
    );
    end_into(&mut harness, &path);
    let recording = Recording::read(&std::fs::read(&path).unwrap(), "session").unwrap();
    let received = recording
        .lines
        .iter()
        .position(|(_, line)| matches!(line, Line::External(_)));
    let moved = recording
        .lines
        .iter()
        .rposition(|(_, line)| matches!(line, Line::Prefix(_)));
    assert!(
        received.unwrap() < moved.unwrap(),
        "a received command is before its effect"
    );
    let Line::External(commands) = &recording.lines[received.unwrap()].1 else {
        unreachable!()
    };
    let mut expected = osc::parse(&packets["all at once"]).unwrap();
    expected.sort_by_key(ExternalCommand::name);
    let mut commands = commands.clone();
    commands.sort_by_key(ExternalCommand::name);
    assert_eq!(commands, expected);

    // While a recording is shown nothing is moved behind it.
    harness.apply(Action::OpenPath(path));
    harness.until("the recording", |workbench| workbench.playback.is_some());
    sent(&mut harness, &peer, &packets["magnitude"]);
    assert_eq!(harness.workbench.external.why, Some(ExternalError::Playing));
    harness.apply(Action::Playback(PlaybackAction::Leave));
    assert_eq!(
        (
            harness.workbench.prefix.clone(),
            harness.workbench.prefixed.text.clone()
        ),
        shown
    );
}

#[test]
fn a_notification_that_cannot_be_sent_is_reported_once() {
    let mut harness = Harness::new();
    // No address of a network: the system refuses to send there.
    harness.apply(external(ExternalAction::SetListen(String::new())));
    harness.apply(external(ExternalAction::SetSendTo("255.255.255.255:9".to_owned())));
    assert_eq!(
        Endpoint::parse("255.255.255.255:9").map(|endpoint| endpoint.is_loopback()),
        Some(false)
    );
    harness.apply(external(ExternalAction::Open));
    harness.until("the problem", |workbench| {
        matches!(workbench.notice, Some(Notice::Problem(_)))
    });
    harness.apply(Action::DismissNotice);
    harness.connect(at(serve(tiny_model())));
    harness.run();
    assert!(harness.workbench.notice.is_none(), "{:?}", harness.workbench.notice);
}
