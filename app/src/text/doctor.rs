//! The doctor's own words. What its checks say comes with the findings, in both languages.

use crate::settings::Language;

/// The words of the Doctor view in one language.
pub struct DoctorText {
    pub tab: &'static str,
    pub host: &'static str,
    pub host_hint: &'static str,
    pub check: &'static str,
    pub check_again: &'static str,
    pub checking: &'static str,
    pub about: &'static str,
    pub counts: fn(usize, usize, usize) -> String,
    pub changed_nothing: &'static str,
    pub needs_you: &'static str,
    pub good: &'static str,
    pub finding: &'static str,
    pub commands: &'static str,
    pub copy: &'static str,
    pub fix: &'static str,
    pub undo: &'static str,
    pub undo_later: &'static str,
    pub no_undo: &'static str,
    pub changed_before: &'static str,
    pub section: fn(&str) -> String,
    pub working: &'static str,
    pub done: &'static str,
    pub already: &'static str,
    pub restored: &'static str,
    pub undone: &'static str,
    pub nothing: &'static str,
    pub failed: &'static str,
    pub exit_tasks: &'static str,
    pub exit_tasks_about: &'static str,
    pub install: &'static str,
    pub install_about: &'static str,
    pub uninstall: &'static str,
    pub choose: &'static str,
}

impl DoctorText {
    #[must_use]
    pub const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &EN,
            Language::Japanese => &JA,
        }
    }
}

const EN: DoctorText = DoctorText {
    tab: "Doctor",
    host: "Module, as for ssh",
    host_hint: "root@192.168.1.20",
    check: "Check",
    check_again: "Check again",
    checking: "Checking…",
    about: "The doctor looks at a module over ssh and port 10001, says what is wrong in one sentence, shows the exact commands that mend it, \
            and runs them when you agree, with a backup. Looking changes nothing.",
    counts: |broken, look, good| format!("{broken} broken, {look} to look at, {good} good"),
    changed_nothing: "Looking changed nothing.",
    needs_you: "Needs you",
    good: "Good",
    finding: "Finding",
    commands: "Exact commands",
    copy: "Copy",
    fix: "Fix it (backs up first)",
    undo: "Undo",
    undo_later: "Undo becomes available after the fix.",
    no_undo: "This cannot be undone.",
    changed_before: "Changed before",
    section: |section| format!("Set-up guide, section {section}"),
    working: "Working on the module…",
    done: "Done, and verified.",
    already: "It was in effect already; nothing was changed.",
    restored: "It failed. What it had changed is back as it was.",
    undone: "Undone: what was there before is back.",
    nothing: "There was nothing to undo.",
    failed: "It could not run.",
    exit_tasks: "End the left-over tasks",
    exit_tasks_about: "Whoever uses one of these tasks loses it.",
    install: "Install the injector…",
    install_about: "Lets the module start softprefix-unit instead of the stock unit, which stays where it is. If the injector does not answer and \
                    apply a prefix, the stock unit is put back.",
    uninstall: "Give the stock unit back",
    choose: "Choose a line on the left.",
};

const JA: DoctorText = DoctorText {
    tab: "診断",
    host: "モジュール（ssh と同じ書き方）",
    host_hint: "root@192.168.1.20",
    check: "診断する",
    check_again: "もう一度診断",
    checking: "診断中…",
    about: "ssh とポート 10001 でモジュールを調べ、何が悪いかを一文で伝え、直すためのコマンドをそのまま示し、同意があればバックアップを取って\
            実行します。調べるだけでは何も変わりません。",
    counts: |broken, look, good| format!("故障 {broken}・要確認 {look}・正常 {good}"),
    changed_nothing: "診断では何も変更していません。",
    needs_you: "対応が必要",
    good: "正常",
    finding: "見つかったこと",
    commands: "実行するコマンド",
    copy: "コピー",
    fix: "直す（先にバックアップ）",
    undo: "元に戻す",
    undo_later: "直したあとに元に戻せます。",
    no_undo: "これは元に戻せません。",
    changed_before: "これまでの変更",
    section: |section| format!("手順書 {section} 節"),
    working: "モジュールで作業中…",
    done: "完了し、確認しました。",
    already: "すでに適用済みでした。何も変更していません。",
    restored: "失敗しました。変更した分は元の状態に戻しました。",
    undone: "元に戻しました。",
    nothing: "元に戻すものはありませんでした。",
    failed: "実行できませんでした。",
    exit_tasks: "残っているタスクを終了",
    exit_tasks_about: "これらのタスクを使っている人がいれば、そのタスクは失われます。",
    install: "注入ユニットを導入…",
    install_about: "標準ユニットはそのまま残し、代わりに softprefix-unit を起動するようにします。応答しない、またはプレフィックスが効かない\
                    場合は標準ユニットに戻します。",
    uninstall: "標準ユニットに戻す",
    choose: "左の項目を選んでください。",
};
