//! The words of recordings, their playback and the idle loop, in each language.

use crate::model::Language;

/// The words of one language.
pub struct DemoText {
    // Recording.
    pub recording: &'static str,
    pub recorded_runs: fn(usize) -> String,
    pub end_recording: &'static str,

    // Playback.
    /// What is shown is a recording: always in sight.
    pub is_recording: &'static str,
    /// The same of the recording that is part of the program.
    pub is_demo: &'static str,
    pub refused: &'static str,
    pub play: &'static str,
    pub pause: &'static str,
    pub from_start: &'static str,
    pub position: &'static str,
    /// Where it is, and how long it is.
    pub position_accessible_value: fn(&str, &str) -> String,
    pub speed: fn(&str) -> String,
    pub again: &'static str,
    pub again_on: &'static str,
    pub leave: &'static str,
    pub open_recording: &'static str,
    pub play_demo: &'static str,
    /// The finished experiment that is part of the program.
    pub open_example: &'static str,
    pub record: &'static str,

    // The idle loop.
    pub exhibiting: &'static str,
    pub visiting: &'static str,
}

impl DemoText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: DemoText = DemoText {
    recording: "Recording",
    recorded_runs: |runs| match runs {
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    },
    end_recording: "End",
    is_recording: "Recording",
    is_demo: "Demo recording",
    refused: "This is a recording. Press Leave to try it yourself.",
    play: "Play",
    pause: "Pause",
    from_start: "Play from the start",
    position: "Position in the recording",
    position_accessible_value: |at, of| format!("{at} of {of}"),
    speed: |speed| format!("Speed {speed}"),
    again: "Repeat",
    again_on: "Stop at the end",
    leave: "Leave",
    open_recording: "Open recording…",
    play_demo: "Play the demo",
    open_example: "Open the example experiment",
    record: "Record",
    exhibiting: "Press a key or click to try it yourself",
    visiting: "Try it yourself · continues after a minute without input",
};

static JAPANESE: DemoText = DemoText {
    recording: "記録中",
    recorded_runs: |runs| format!("{runs} 回の実行"),
    end_recording: "終了",
    is_recording: "記録の再生",
    is_demo: "デモの記録",
    refused: "これは記録です。自分で試すには「戻る」を押してください。",
    play: "再生",
    pause: "一時停止",
    from_start: "最初から再生",
    position: "記録の再生位置",
    position_accessible_value: |at, of| format!("{of} のうち {at}"),
    speed: |speed| format!("速さ {speed}"),
    again: "繰り返す",
    again_on: "最後で止める",
    leave: "戻る",
    open_recording: "記録を開く…",
    play_demo: "デモを再生",
    open_example: "例の実験を開く",
    record: "記録",
    exhibiting: "どれかキーを押すか画面に触れると、自分で試せます",
    visiting: "自由に試せます・操作がないと 1 分後に再開します",
};
