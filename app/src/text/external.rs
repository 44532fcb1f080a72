//! The words of the control by other programs, in each language.

use crate::model::{Language, Mapped};

/// The words of one language.
pub struct ExternalText {
    /// The item of the settings, and the title of the sheet.
    pub title: &'static str,
    pub about: &'static str,
    pub listen: &'static str,
    pub send_to: &'static str,
    pub address_wrong: &'static str,
    /// The switch.
    pub on: &'static str,
    pub no_address: &'static str,
    pub opening: &'static str,
    pub listening: fn(&str) -> String,
    pub sending: fn(&str) -> String,
    /// Warnings about an address beyond loopback: for receiving, and for sending.
    pub receives_from_anyone: fn(&str) -> String,
    pub sends_elsewhere: fn(&str) -> String,
    /// How many packets came, and how many were refused.
    pub counted: fn(u64, u64) -> String,
    pub last_refused: fn(&str) -> String,
    pub mappings: &'static str,
    pub mappings_about: &'static str,
    pub mapped: fn(Mapped) -> &'static str,
    /// The fields of a mapping, for a screen reader: of this control, the lower and upper end of what is received and of
    /// what it becomes.
    pub ends: fn(&str) -> [String; 4],
    pub received: &'static str,
    pub becomes: &'static str,
    pub last: &'static str,
    pub not_yet: &'static str,
    /// For the last row that was received.
    pub beyond_len: fn(usize, usize) -> String,
    pub others: &'static str,
}

impl ExternalText {
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

fn mapped(of: Mapped) -> &'static str {
    match of {
        Mapped::Magnitude => "/magnitude",
        Mapped::Len => "/p",
        Mapped::Row => "/row/N",
        Mapped::Blend => "/blend",
    }
}

static ENGLISH: ExternalText = ExternalText {
    title: "Control by OSC…",
    about: "Sensors, faders and other programs move the prefix by OSC over UDP. Addresses begin with /softprefix: magnitude, p, seed, row/N, blend, prompt, preset, run. With Live on, a run starts at most every 150 ms; /run starts one at any time.",
    listen: "Listen on",
    send_to: "Send outputs to",
    address_wrong: "Write HOST:PORT, or a port alone for this computer; leave it empty for none.",
    on: "Receive and send",
    no_address: "Enter an address first.",
    opening: "Opening…",
    listening: |address| format!("Listening on {address}"),
    sending: |address| format!("sending to {address}"),
    receives_from_anyone: |address| {
        format!(
            "Anybody who can reach {address} can move the prefix, change the prompt and start runs: OSC has no password. Use it only in a network that you trust."
        )
    },
    sends_elsewhere: |address| format!("Every output is sent to {address} unencrypted."),
    counted: |packets, refused| {
        let packets = match packets {
            1 => "1 packet".to_owned(),
            _ => format!("{packets} packets"),
        };
        match refused {
            0 => packets,
            _ => format!("{packets}, {refused} refused"),
        }
    },
    last_refused: |why| format!("The last one was refused: {why}."),
    mappings: "Map ranges",
    mappings_about: "Off, a value is used as it is received. Either way it stays within the control's range.",
    mapped,
    ends: |name| {
        [
            format!("{name}: received, from"),
            format!("{name}: received, to"),
            format!("{name}: becomes, from"),
            format!("{name}: becomes, to"),
        ]
    },
    received: "received",
    becomes: "becomes",
    last: "last value",
    not_yet: "none yet",
    beyond_len: |row, len| format!("row {row} is beyond P = {len}"),
    others: "Other commands",
};

static JAPANESE: ExternalText = ExternalText {
    title: "OSC で操作…",
    about: "センサー、フェーダー、ほかのプログラムから、UDP の OSC でプレフィックスを動かします。アドレスは /softprefix で始まります: magnitude、p、seed、row/N、blend、prompt、preset、run。ライブがオンなら、最短 150 ミリ秒おきに実行します。/run はいつでも実行します。",
    listen: "受信アドレス",
    send_to: "出力の送信先",
    address_wrong: "ホスト:ポートの形で入力してください。ポートだけならこのコンピューター、空欄ならなしです。",
    on: "受信・送信する",
    no_address: "先にアドレスを入力してください。",
    opening: "準備中…",
    listening: |address| format!("{address} で受信中"),
    sending: |address| format!("{address} へ送信中"),
    receives_from_anyone: |address| {
        format!(
            "{address} に届く人なら誰でも、プレフィックスを動かし、プロンプトを変え、実行できます（OSC にパスワードはありません）。信頼できるネットワークで使ってください。"
        )
    },
    sends_elsewhere: |address| format!("出力はすべて、暗号化されずに {address} へ送られます。"),
    counted: |packets, refused| match refused {
        0 => format!("受信 {packets} 件"),
        _ => format!("受信 {packets} 件、うち拒否 {refused} 件"),
    },
    last_refused: |why| format!("最後に拒否した理由: {why}。"),
    mappings: "範囲の変換",
    mappings_about: "オフなら届いた値をそのまま使います。どちらの場合も、操作の範囲に収めます。",
    mapped,
    ends: |name| {
        [
            format!("{name}: 届く値の下端"),
            format!("{name}: 届く値の上端"),
            format!("{name}: 変換後の下端"),
            format!("{name}: 変換後の上端"),
        ]
    },
    received: "届く値",
    becomes: "変換後",
    last: "最後の値",
    not_yet: "まだなし",
    beyond_len: |row, len| format!("行 {row} は P = {len} の外"),
    others: "そのほかの命令",
};
