//! OSC packets: parsed as commands, and formatted from notifications.

use rosc::{OscMessage, OscPacket, OscType, decoder, encoder};

use crate::model::{Argument, ExternalCommand, ExternalError, Notification, ROOT};

/// Maximum depth of arrays, and maximum number of bundles in a packet. Dropping a packet takes stack for each level.
const MAX_DEPTH: usize = 64;
/// Maximum length of a sent text, in bytes: a datagram has room for 65,507.
const MAX_TEXT_LENGTH: usize = 60_000;

/// Parses a datagram.
///
/// # Errors
/// If any part of it is invalid: a packet is obeyed as a whole or not at all.
pub fn parse(packet: &[u8]) -> Result<Vec<ExternalCommand>, ExternalError> {
    let bundles = packet.windows(8).filter(|window| window == b"#bundle\0").count();
    // A list of type tags contains no zero byte.
    let (mut depth, mut arrays) = (0_usize, 0);
    for byte in packet {
        depth = match byte {
            b'[' => depth + 1,
            b']' => depth.saturating_sub(1),
            0 => 0,
            _ => depth,
        };
        arrays = arrays.max(depth);
    }
    if bundles > MAX_DEPTH || arrays > MAX_DEPTH {
        return Err(ExternalError::NotOsc("nested too deeply".to_owned()));
    }
    let not_osc = |error: rosc::OscError| ExternalError::NotOsc(error.to_string());
    let (_, decoded) = decoder::decode_udp(packet).map_err(not_osc)?;
    // The decoder stops at an invalid element of a bundle and leaves out the rest.
    if encoder::encode(&decoded).map_err(not_osc)?.len() != packet.len() {
        return Err(ExternalError::NotOsc("a part of it is damaged".to_owned()));
    }
    let mut commands = Vec::new();
    add(decoded, &mut commands)?;
    match commands.is_empty() {
        true => Err(ExternalError::NoCommand),
        false => Ok(commands),
    }
}

fn add(packet: OscPacket, commands: &mut Vec<ExternalCommand>) -> Result<(), ExternalError> {
    match packet {
        OscPacket::Message(OscMessage { addr, args }) => {
            if !addr.starts_with(ROOT) {
                return Err(ExternalError::Unknown(addr.escape_debug().take(60).collect()));
            }
            let arguments: Vec<Argument> = args.into_iter().filter_map(argument).collect();
            commands.push(ExternalCommand::parse(&addr, &arguments)?);
        }
        // Time tags are not awaited: a sensor's values count when they arrive.
        OscPacket::Bundle(bundle) => {
            for element in bundle.content {
                add(element, commands)?;
            }
        }
    }
    Ok(())
}

fn argument(value: OscType) -> Option<Argument> {
    Some(match value {
        OscType::Int(value) => Argument::Number(value.into()),
        OscType::Long(value) => Argument::Number(value as f64),
        OscType::Float(value) => Argument::Number(value.into()),
        OscType::Double(value) => Argument::Number(value),
        OscType::Bool(value) => Argument::Number(f64::from(u8::from(value))),
        OscType::String(value) => Argument::Text(value),
        // An event without a value.
        OscType::Inf | OscType::Nil => return None,
        // Of a type that no command takes.
        _ => Argument::Number(f64::NAN),
    })
}

/// Formats a notification as a datagram. A text that does not fit is cut.
///
/// # Errors
/// None, as long as `rosc` can encode a message of one argument.
pub fn datagram(notification: &Notification) -> Result<Vec<u8>, rosc::OscError> {
    let argument = match notification {
        Notification::State(state) => OscType::String(state.name().to_owned()),
        Notification::Token(text) | Notification::Text(text) | Notification::Error(text) => {
            // A zero byte ends a string of OSC.
            OscType::String(text[..text.floor_char_boundary(MAX_TEXT_LENGTH)].replace('\0', " "))
        }
        Notification::Similarity(similarity) => OscType::Float(*similarity as f32),
    };
    encoder::encode(&OscPacket::Message(OscMessage {
        addr: format!("{ROOT}{}", notification.name()),
        args: vec![argument],
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rosc::{OscBundle, OscTime};

    use super::*;
    use crate::model::ExternalState;

    fn message(name: &str, args: Vec<OscType>) -> OscPacket {
        OscPacket::Message(OscMessage {
            addr: format!("{ROOT}{name}"),
            args,
        })
    }

    fn bundle(content: Vec<OscPacket>) -> OscPacket {
        OscPacket::Bundle(OscBundle {
            timetag: OscTime::from((0, 1)),
            content,
        })
    }

    fn read(packet: &OscPacket) -> Result<Vec<ExternalCommand>, ExternalError> {
        parse(&encoder::encode(packet).unwrap())
    }

    #[test]
    fn a_bundle_with_an_invalid_element_is_refused_as_a_whole() {
        let good = || message("magnitude", vec![OscType::Float(2.0)]);
        assert_eq!(read(&good()), Ok(vec![ExternalCommand::Magnitude(2.0)]));
        let both = bundle(vec![good(), bundle(vec![message("run", Vec::new())])]);
        assert_eq!(
            read(&both),
            Ok(vec![ExternalCommand::Magnitude(2.0), ExternalCommand::Run(true)])
        );
        for bad in [
            message("volume", vec![OscType::Float(1.0)]),
            message("magnitude", vec![OscType::Float(f32::NAN)]),
            message("magnitude", vec![OscType::Blob(vec![0; 4])]),
            message("run", vec![OscType::Blob(vec![0; 4])]),
            bundle(vec![good(), message("seed", vec![OscType::Int(-1)])]),
        ] {
            assert!(read(&bundle(vec![good(), bad])).is_err());
        }
        assert_eq!(read(&bundle(Vec::new())), Err(ExternalError::NoCommand));
        let elsewhere = OscPacket::Message(OscMessage {
            addr: "/other/magnitude".to_owned(),
            args: vec![OscType::Float(1.0)],
        });
        assert!(matches!(read(&elsewhere), Err(ExternalError::Unknown(_))));
    }

    #[test]
    fn a_bundle_whose_inner_bundle_is_cut_off_is_refused_as_a_whole() {
        let inner = encoder::encode(&bundle(vec![
            message("magnitude", vec![OscType::Float(2.0)]),
            message("seed", vec![OscType::Int(3)]),
        ]))
        .unwrap();
        // The last element says that it is longer than it is.
        let mut damaged = inner.clone();
        let at = inner.len() - 28 - 4;
        let size = u32::from_be_bytes(inner[at..at + 4].try_into().unwrap());
        assert_eq!(size, 28, "the size of the last element");
        damaged[at..at + 4].copy_from_slice(&400_u32.to_be_bytes());
        for inner in [&inner, &damaged] {
            let mut whole = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
            whole.extend((inner.len() as u32).to_be_bytes());
            whole.extend(inner.iter());
            assert_eq!(parse(&whole).is_ok(), *inner != damaged);
        }
    }

    #[test]
    fn brackets_in_values_are_no_nesting() {
        let list = "[".repeat(65);
        let prompt = message("prompt", vec![OscType::String(list.clone())]);
        assert!(
            matches!(read(&prompt), Err(ExternalError::NotOsc(_))),
            "they could be lists"
        );
        let prompt = message("prompt", vec![OscType::String("[]".repeat(65))]);
        assert_eq!(read(&prompt), Ok(vec![ExternalCommand::Prompt("[]".repeat(65))]));
        // A float of 0.857 has the byte of a bracket.
        let rows = (1..=100).map(|row| message(&format!("row/{row}"), vec![OscType::Float(0.857)]));
        assert_eq!(read(&bundle(rows.collect())).map(|rows| rows.len()), Ok(100));
    }

    #[test]
    fn a_text_with_a_zero_byte_is_sent_whole() {
        let packet = datagram(&Notification::Text("a\0b".to_owned())).unwrap();
        let (_, OscPacket::Message(sent)) = decoder::decode_udp(&packet).unwrap() else {
            panic!();
        };
        assert_eq!(sent.args, [OscType::String("a b".to_owned())]);
    }

    #[test]
    fn packets_that_are_nested_without_end_are_refused() {
        let mut nested = Vec::new();
        while nested.len() + 20 < 65_507 {
            let mut outer = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
            outer.extend((nested.len() as u32).to_be_bytes());
            outer.extend(&nested);
            nested = outer;
            if nested.len() > 2_000 {
                break;
            }
        }
        assert!(matches!(parse(&nested), Err(ExternalError::NotOsc(_))));
        let mut arrays = b"/softprefix/magnitude\0\0\0,".to_vec();
        arrays.extend([b'['; 30_000]);
        arrays.extend([b']'; 30_000]);
        arrays.resize(arrays.len().next_multiple_of(4) + 4, 0);
        assert!(matches!(parse(&arrays), Err(ExternalError::NotOsc(_))));
    }

    #[test]
    fn a_notification_is_one_message_and_a_text_longer_than_a_datagram_is_cut_between_characters() {
        let text = "海".repeat(30_000);
        let sent = datagram(&Notification::Text(text)).unwrap();
        assert!(sent.len() < 65_507);
        let (rest, packet) = decoder::decode_udp(&sent).unwrap();
        assert!(rest.is_empty());
        let cut = OscType::String("海".repeat(20_000));
        assert_eq!(packet, message("text", vec![cut]));
        let sent = datagram(&Notification::State(ExternalState::Idle)).unwrap();
        assert_eq!(sent, b"/softprefix/state\0\0\0,s\0\0idle\0\0\0\0");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&packet);
            let mut addressed = b"/softprefix/row/1\0\0\0".to_vec();
            addressed.extend(&packet);
            let _ = parse(&addressed);
        }

        #[test]
        fn a_packet_that_is_cut_or_extended_is_refused(value: f32, cut in 1_usize..40, more in 1_usize..9) {
            let whole = encoder::encode(&message("magnitude", vec![OscType::Float(value)])).unwrap();
            prop_assert!(parse(&whole[..whole.len() - cut.min(whole.len())]).is_err());
            let extended = [&whole[..], &vec![0; more]].concat();
            prop_assert!(parse(&extended).is_err());
        }
    }
}
