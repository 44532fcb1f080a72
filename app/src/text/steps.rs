//! The page with the first steps, in each language.

use crate::model::Language;

/// The words of one language. `{key}` stands for the shortcut of a command, in the order in which the page names them.
pub struct StepsText {
    pub title: &'static str,
    pub about: &'static str,
    pub steps: [FirstStep; 4],
    pub begin: &'static str,
    pub found_again: &'static str,
}

/// A step: its name, what to do, and its button, which is empty where the window itself is the place.
pub struct FirstStep {
    pub name: &'static str,
    pub words: &'static str,
    pub button: &'static str,
}

impl StepsText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: StepsText = StepsText {
    title: "First steps",
    about: "A soft prefix is a few vectors put in front of a prompt. You change their size and see how the model's output moves away from its output without them.",
    steps: [
        FirstStep {
            name: "Move",
            words: "Drag the orange handle of Magnitude, or press {key} and {key}. The prefixed output is generated again as you move; {key} runs it once more. 1× is as long as a usual token.",
            button: "",
        },
        FirstStep {
            name: "Look",
            words: "Left is the baseline, right the output with the prefix. Blue text was removed, orange text was added, the flag marks the first difference, and {key} goes to the next. Every run is a point below and shows its outputs again when you click it; {key} gives it a star, {key} a note.",
            button: "",
        },
        FirstStep {
            name: "Sweep",
            words: "Many magnitudes and lengths in one go, as a map and as lines. Every run is saved on this computer; Export, at the top, writes a report or a table.",
            button: "Open Sweep with this prompt",
        },
        FirstStep {
            name: "Send to a module",
            words: "The same prefix goes to an M5Stack LLM module by its address ({key}). A new module ignores prefixes; Doctor checks it, installs what it needs, and can undo that.",
            button: "Connect elsewhere…",
        },
    ],
    begin: "Begin",
    found_again: "The list of keys (?) opens this page again",
};

static JAPANESE: StepsText = StepsText {
    title: "はじめての手順",
    about: "ソフトプレフィックスは、プロンプトの前に置く数本のベクトルです。その大きさを変えると、言語モデルの出力が元の出力からどう離れていくかを見られます。",
    steps: [
        FirstStep {
            name: "動かす",
            words: "「大きさ」のオレンジのつまみを動かすか、{key} と {key} を押してください。動かすたびに出力が作り直されます。{key} でもう一度実行します。1× が普通のトークンと同じ長さです。",
            button: "",
        },
        FirstStep {
            name: "見る",
            words: "左がベースライン、右がプレフィックス付きの出力です。青は消えた部分、オレンジは増えた部分、旗は最初の違いで、{key} で次の違いへ移ります。実行はどれも下のグラフの点になり、クリックすると出力をもう一度見られます。{key} で星、{key} でメモを付けられます。",
            button: "",
        },
        FirstStep {
            name: "一括実験",
            words: "多くの大きさと長さをまとめて実行し、ヒートマップと線で見ます。結果は一回ごとにこのコンピューターに残り、上の「書き出す」でレポートや表に保存できます。",
            button: "このプロンプトで一括実験を開く",
        },
        FirstStep {
            name: "モジュールへ送る",
            words: "同じプレフィックスを、アドレスを指定して M5Stack LLM モジュールへ送れます（{key}）。新しいモジュールはプレフィックスを無視します。「診断」が状態を調べて必要なものを導入し、元に戻すこともできます。",
            button: "接続先を変える…",
        },
    ],
    begin: "始める",
    found_again: "このページはキーの一覧（?）からいつでも開けます",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_names_the_same_keys_and_has_the_same_buttons() {
        let keys = |text: &StepsText| text.steps.each_ref().map(|step| step.words.matches("{key}").count());
        let buttons = |text: &StepsText| text.steps.each_ref().map(|step| step.button.is_empty());
        assert_eq!(keys(&ENGLISH), keys(&JAPANESE));
        assert_eq!(keys(&ENGLISH), [3, 3, 0, 1]);
        assert_eq!(buttons(&ENGLISH), buttons(&JAPANESE));
    }
}
