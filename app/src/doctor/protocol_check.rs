//! Checks a module over port 10001, without ssh: connection, set-up, baseline, effect of a prefix, streaming,
//! determinism, and which unit it is.
//!
//! The findings name sections of the set-up guide of the C++ unit, which is not part of this repository: 0.1, 5, 6, 8
//! and 9.
//!
//! The checks send each request by themselves instead of opening a session, since the step that fails is the finding.
//! `sys.bashexec` is never sent, and neither is `sys.hwinfo`, which crashes llm-sys on boards without a temperature
//! sensor.

use std::time::Duration;

use half::bf16;
use softprefix_core::client::{ClientError, ConnectOptions, InferenceRequest, Module, Outcome, Task};
use softprefix_core::prefix::SoftPrefix;
use softprefix_core::protocol::{Code, SetUp};

use super::finding::{Finding, Verdict};
use crate::errors;
use crate::model::{Bilingual, beginning, bilingual};

/// Ids of the findings by which an installation is judged: the connection, the list of tasks, the set-up, and the effect of a prefix.
pub(super) const ANSWER: &str = "answer";
pub(super) const TASKS: &str = "tasks";
pub(super) const SET_UP: &str = "set-up";
pub(super) const PREFIX: &str = "prefix";

const PROMPT: &str = "Name three colours.";
// Many of its characters take several tokens, which breaks a stream that splits between them.
const JAPANESE: &str = "「春の花を咲かせ」で始まる短い詩を書いてください。";
const SYSTEM: &str = "You are a helpful assistant";
/// Positions of the context window: enough for these prompts and outputs, without taking more memory than needed.
const POSITIONS: u32 = 256;
/// Output tokens of an inference: enough to see a difference, and soon done on a slow board.
const OUTPUT_TOKENS: usize = 48;
/// Each value of a large prefix: about 58 times the norm of a token of Qwen2.5-0.5B.
const LARGE_VALUE: f32 = 1.0;
/// Free memory in which no language model fits, in MiB.
const MIN_FREE_MIB: i64 = 16;
/// Number of characters of a text in a fact.
const SHOWN_CHARACTERS: usize = 80;

/// Which module to check, and the time-outs.
#[derive(Debug, Clone)]
pub struct ProtocolCheck {
    /// `host` or `host:port`.
    pub address: String,
    /// The model to set up; by default the first language model of the module.
    pub model: Option<String>,
    pub options: ConnectOptions,
}

impl ProtocolCheck {
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        let options = ConnectOptions {
            // Shorter than by default, since a stream that stalls is expected of some units, and a person waits for the result.
            idle: Duration::from_secs(15),
            deadline: Duration::from_secs(90),
            ..ConnectOptions::default()
        };
        Self {
            address: address.into(),
            model: None,
            options,
        }
    }
}

/// Makes all checks in order, skipping those that a failed one makes impossible. Calls `report` with each finding.
pub async fn run(check: &ProtocolCheck, mut report: impl FnMut(Finding)) {
    let module = match connect(check).await {
        Ok((module, finding)) => {
            report(finding);
            module
        }
        Err(finding) => return report(finding),
    };
    let model = match (&check.model, module.cards().await) {
        (Some(model), _) => model.clone(),
        (None, Ok(cards)) => match cards.iter().find(|card| card.is_language_model()) {
            Some(card) => card.name.clone(),
            None => {
                let title = bilingual!(
                    "The module lists no language model",
                    "モジュールに言語モデルがありません"
                );
                let text = bilingual!(
                    "Install a model package on the module.",
                    "モジュールにモデルのパッケージを入れてください。"
                );
                return report(Finding::new("model", "7", Verdict::Broken, title, text));
            }
        },
        (None, Err(error)) => {
            return report(finding_of_error(
                "model",
                "7",
                bilingual!("The model cards cannot be listed", "モデルカードを一覧できません"),
                &error,
            ));
        }
    };
    report(check_tasks(&module).await);
    if let Some(finding) = check_inference(&module, &model, &mut report).await {
        report(finding);
    }
}

async fn connect(check: &ProtocolCheck) -> Result<(Module, Finding), Finding> {
    let title = || {
        bilingual!(
            "The module does not answer on port 10001",
            "モジュールがポート 10001 で応答しません"
        )
    };
    let module = Module::connect(&check.address, check.options.clone())
        .await
        .map_err(|error| finding_of_error(ANSWER, "0.1", title(), &error))?;
    let first = module
        .ping()
        .await
        .map_err(|error| finding_of_error(ANSWER, "0.1", title(), &error))?;
    // The first ping may include the wake-up of the network and of llm-sys.
    let latency = module.ping().await.unwrap_or(first);
    let version = match module.version().await {
        Ok(version) => version.into(),
        Err(error) => errors::client(&error).whole(),
    };
    let ms = format!("{:.1}", latency.as_secs_f64() * 1e3);
    let finding = Finding::new(
        ANSWER,
        "0.1",
        Verdict::Good,
        bilingual!("The module answers in {ms} ms", "モジュールは {ms} ms で応答します"),
        bilingual!(
            "llm-sys was asked for a ping and its version.",
            "llm-sys に ping とバージョンを尋ねました。"
        ),
    )
    .fact(bilingual!("address", "アドレス"), module.address())
    .fact(bilingual!("llm-sys", "llm-sys"), version);
    // The memory of the NPU. Our unit reports the machine's where there is no NPU; a stock board without one reports a
    // total of 0.
    let finding = match module.cmminfo().await {
        Ok(cmm) if cmm.total > 0 => {
            let (remain, total) = (cmm.remain / 1024, cmm.total / 1024);
            finding
                .fact(
                    bilingual!("memory for models", "モデル用メモリー"),
                    bilingual!("{remain} of {total} MiB free", "{total} MiB 中 {remain} MiB 空き"),
                )
                .wrong_if(remain < MIN_FREE_MIB)
        }
        _ => finding,
    };
    Ok((module, finding))
}

async fn check_tasks(module: &Module) -> Finding {
    let text = bilingual!(
        "A module runs two tasks. Tasks that earlier clients did not exit still count, and then a setup answers \"task full\".",
        "モジュールが動かせるタスクは二つです。終了せずに去ったクライアントのタスクも数えられ、設定時に「task full」になります。"
    );
    match module.tasks().await {
        Ok(ids) if ids.is_empty() => Finding::new(
            TASKS,
            "8.2",
            Verdict::Good,
            bilingual!("No task is left over", "残っているタスクはありません"),
            text,
        ),
        Ok(ids) => {
            let count = ids.len();
            let verdict = if count >= 2 { Verdict::Warning } else { Verdict::Good };
            Finding::new(
                TASKS,
                "8.2",
                verdict,
                bilingual!("{count} of 2 tasks are in use", "2 個中 {count} 個のタスクが使用中です"),
                text,
            )
            .fact(bilingual!("tasks", "タスク"), ids.join(", "))
            .wrong_if(count >= 2)
        }
        Err(error) => finding_of_error(
            TASKS,
            "8.1",
            bilingual!("The LLM unit does not answer", "LLM ユニットが応答しません"),
            &error,
        ),
    }
}

/// Ends the tasks that other clients left. A client that still uses one loses it, so the user must have agreed.
///
/// # Errors
/// Those of the module.
pub async fn exit_left_over_tasks(check: &ProtocolCheck) -> Result<Vec<String>, ClientError> {
    let module = Module::connect(&check.address, check.options.clone()).await?;
    let ids = module.tasks().await?;
    module.exit_all(&ids).await?;
    Ok(ids)
}

/// Checks set-up, baseline, second run, prefixes and stream. Returns the finding of the step that failed and ended the checks, if one did.
async fn check_inference(module: &Module, model: &str, report: &mut impl FnMut(Finding)) -> Option<Finding> {
    let task = match module
        .set_up(
            &SetUp::new(model, SYSTEM)
                .greedy()
                .streaming(false)
                .max_positions(POSITIONS),
        )
        .await
    {
        Ok(task) => task,
        Err(error) => return Some(set_up_failed(model, &error)),
    };
    let name = model.to_owned();
    let is_softprefix_unit = task.support().is_some();
    report(
        Finding::new(
            SET_UP,
            "8.1",
            Verdict::Good,
            bilingual!("{name} sets up", "{name} を設定できます"),
            bilingual!(
                "A setup needs a unit that runs and a model that loads.",
                "設定には、動いているユニットと読み込めるモデルが必要です。"
            ),
        )
        .fact(bilingual!("task", "タスク"), task.work_id()),
    );

    let baseline = match infer(&task, PROMPT, None).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let finding = finding_of_error(
                "baseline",
                "5",
                bilingual!("The baseline fails", "ベースラインが返ってきません"),
                &error,
            );
            exit_task(&task, report).await;
            return Some(finding);
        }
    };
    report(
        Finding::new(
            "baseline",
            "5",
            Verdict::Good,
            bilingual!("The baseline is complete", "ベースラインは最後まで返ります"),
            bilingual!(
                "Non-stream output, which is safe on every unit.",
                "どのユニットでも安全な非ストリーム出力です。"
            ),
        )
        .fact(
            bilingual!("text", "テキスト"),
            beginning(&baseline.text, SHOWN_CHARACTERS),
        ),
    );

    let second_run = match infer(&task, PROMPT, None).await {
        Ok(again) if again.text == baseline.text => {
            let title = bilingual!("A second run gives the same text", "二回目の実行は同じ結果です");
            let text = bilingual!(
                "The unit is deterministic: any difference is the prefix's.",
                "ユニットは決定的です。違いはすべてプレフィックスによるものです。"
            );
            report(Finding::new("second-run", "6", Verdict::Good, title, text));
            SecondRun::Same
        }
        Ok(again) => {
            let title = bilingual!(
                "A second run differs: the unit samples",
                "二回目の実行が異なります：ユニットがサンプリングしています"
            );
            let text = bilingual!(
                "Differences below those of two baselines mean nothing. Set enable_top_k_sampling to false on the model's card for greedy output.",
                "二つのベースラインの差より小さい違いに意味はありません。モデルカードの enable_top_k_sampling を false にすると決定的になります。"
            );
            report(Finding::new("second-run", "6", Verdict::Warning, title, text).fact(
                bilingual!("second run", "二回目"),
                beginning(&again.text, SHOWN_CHARACTERS),
            ));
            SecondRun::Differs
        }
        Err(error) => {
            report(finding_of_error(
                "second-run",
                "6",
                bilingual!("The second run fails", "二回目の実行が返ってきません"),
                &error,
            ));
            SecondRun::Failed
        }
    };
    report(check_prefix_effect(module, model, &task, &baseline, second_run).await);
    exit_task(&task, report).await;
    let finding = check_streaming(module, model, is_softprefix_unit, report).await;
    report(finding);
    None
}

/// Exits a task of these checks. If that fails, its slot stays taken. The finding has the id of the list of tasks, which it replaces in the
/// window, because both have the same remedy: to exit the left-over tasks.
async fn exit_task(task: &Task, report: &mut impl FnMut(Finding)) {
    if let Err(error) = task.exit().await {
        let title = bilingual!(
            "A task of these checks could not be ended",
            "この診断で使ったタスクを終了できませんでした"
        );
        let text = errors::client(&error).whole();
        report(
            Finding::new(TASKS, "8.2", Verdict::Warning, title, text)
                .wrong_fact(bilingual!("task", "タスク"), task.work_id()),
        );
    }
}

/// The result of a second run of the baseline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecondRun {
    Same,
    Differs,
    Failed,
}

/// Checks whether a prefix has an effect, which shows the kind of unit (set-up guide, sections 6 and 9).
async fn check_prefix_effect(
    module: &Module,
    model: &str,
    task: &Task,
    baseline: &Outcome,
    second_run: SecondRun,
) -> Finding {
    let hidden_size = match task.support() {
        Some(support) => Some(support.hidden_size),
        None => module
            .cards()
            .await
            .ok()
            .and_then(|cards| cards.into_iter().find(|card| card.name == model)?.hidden_size),
    };
    let Some(hidden_size) = hidden_size else {
        return Finding::not_checked(
            PREFIX,
            "9",
            bilingual!(
                "The model's card has no tokens_embed_size, so no prefix can be made for it.",
                "モデルカードに tokens_embed_size がないため、プレフィックスを作れません。"
            ),
        );
    };
    let prefix = |value: f32| SoftPrefix::from_bf16(hidden_size, vec![bf16::from_f32(value); hidden_size]);
    let (zero, large) = match (prefix(0.0), prefix(LARGE_VALUE)) {
        (Ok(zero), Ok(large)) => (zero, large),
        (Err(error), _) | (_, Err(error)) => {
            return Finding::not_checked(PREFIX, "9", errors::prefix(&error).whole());
        }
    };
    let zero = infer(task, PROMPT, Some(zero)).await;
    let large = infer(task, PROMPT, Some(large)).await;
    let changed = large.as_ref().is_ok_and(|large| large.text != baseline.text);
    let (verdict, title, text) = match (task.support(), &large) {
        (Some(support), Ok(_)) if changed => {
            let unit = support.unit.clone();
            (
                Verdict::Good,
                bilingual!(
                    "This is {unit}: prefixes are put in front and confirmed",
                    "{unit} です。プレフィックスは先頭に置かれ、確認されます"
                ),
                bilingual!(
                    "The unit echoes each prefix with its SHA-256.",
                    "ユニットは受け取ったプレフィックスを SHA-256 とともに返します。"
                ),
            )
        }
        (None, Ok(_)) if changed && second_run == SecondRun::Same => (
            Verdict::Good,
            bilingual!(
                "A stock unit with the prefix patch: a large prefix changes the text",
                "プレフィックス用のパッチを当てた標準ユニットです。大きなプレフィックスで出力が変わります"
            ),
            bilingual!(
                "It does not report wrong prefixes, so sizes are checked before they are sent.",
                "誤ったプレフィックスについては何も言わないユニットです。送る前に大きさを確かめます。"
            ),
        ),
        (None, Ok(_)) if changed && second_run == SecondRun::Failed => (
            Verdict::Warning,
            bilingual!(
                "A large prefix changes the text, but the second run failed",
                "大きなプレフィックスで出力は変わりますが、二回目の実行が失敗しました"
            ),
            bilingual!(
                "Without a second run to compare with, this does not show whether soft_prefix is applied.",
                "比べる二回目の実行がないため、soft_prefix が効いているか判断できません。"
            ),
        ),
        (None, Ok(_)) if changed => (
            Verdict::Warning,
            bilingual!(
                "A large prefix changes the text, but so does a second run",
                "大きなプレフィックスで出力は変わりますが、二回目の実行でも変わります"
            ),
            bilingual!(
                "While the unit samples, this does not show whether soft_prefix is applied.",
                "サンプリングしている間は、soft_prefix が効いているか判断できません。"
            ),
        ),
        (_, Ok(_)) => (
            Verdict::Broken,
            bilingual!(
                "soft_prefix is not applied here",
                "ここでは soft_prefix が効いていません"
            ),
            bilingual!(
                "The output equals the baseline although the prefix is large: check that the unit applies prefixes (accepts the JSON, decodes the bf16 values, prepends the rows), or install softprefix-unit.",
                "大きなプレフィックスでも出力がベースラインと完全に一致します。ユニット側で prefix 合成が有効か（JSON 受理→bf16 復元→埋め込み先頭に合成）を確認するか、softprefix-unit を導入してください。"
            ),
        ),
        (_, Err(error)) => {
            return finding_of_error(
                PREFIX,
                "6",
                bilingual!(
                    "An inference with a prefix fails",
                    "プレフィックス付きの推論が失敗します"
                ),
                error,
            );
        }
    };
    let mut finding = Finding::new(PREFIX, "9", verdict, title, text);
    match zero {
        Ok(zero) => {
            let same = zero.text == baseline.text;
            let word = if same {
                bilingual!("the baseline's text", "ベースラインと同じテキスト")
            } else {
                bilingual!(
                    "another text (a row of zeros still takes the first position)",
                    "別のテキスト（ゼロの行も先頭の位置を占めるため）"
                )
            };
            finding = finding.fact(bilingual!("prefix of magnitude 0", "大きさ 0 のプレフィックス"), word);
        }
        Err(error) => {
            finding = finding.wrong_fact(
                bilingual!("prefix of magnitude 0", "大きさ 0 のプレフィックス"),
                errors::client(&error).whole(),
            )
        }
    }
    if let Ok(large) = large {
        finding = finding
            .fact(
                bilingual!("prefix of magnitude 1.0", "大きさ 1.0 のプレフィックス"),
                beginning(&large.text, SHOWN_CHARACTERS),
            )
            .wrong_if(!changed);
    }
    finding
}

/// Compares a stream of Japanese text with the same text sent at once (set-up guide, section 8.3).
async fn check_streaming(
    module: &Module,
    model: &str,
    is_softprefix_unit: bool,
    report: &mut impl FnMut(Finding),
) -> Finding {
    const ID: &str = "stream";
    let set_up = |streaming| {
        SetUp::new(model, SYSTEM)
            .greedy()
            .streaming(streaming)
            .max_positions(POSITIONS)
    };
    let text = bilingual!(
        "A stock unit with the built-in tokenizer stops a stream without an end if a character is split between two groups of tokens.",
        "内蔵トークナイザーの標準ユニットでは、文字が二つのトークン群にまたがると、ストリームが終わりの合図なしに止まります。"
    );
    let mut outcomes = Vec::new();
    for streaming in [false, true] {
        let task = match module.set_up(&set_up(streaming)).await {
            Ok(task) => task,
            Err(error) => {
                return finding_of_error(
                    ID,
                    "8.3",
                    match streaming {
                        false => bilingual!("A setup without streaming fails", "ストリームなしの設定が失敗します"),
                        true => bilingual!("A setup with streaming fails", "ストリームありの設定が失敗します"),
                    },
                    &error,
                );
            }
        };
        outcomes.push(infer(&task, JAPANESE, None).await);
        exit_task(&task, report).await;
    }
    let shown = |outcome: &Result<Outcome, ClientError>| match outcome {
        Ok(outcome) => beginning(&outcome.text, SHOWN_CHARACTERS).into(),
        Err(error) => errors::client(error).whole(),
    };
    let (whole, streamed) = (shown(&outcomes[0]), shown(&outcomes[1]));
    let (verdict, title) = match (&outcomes[0], &outcomes[1]) {
        (Ok(whole), Ok(streamed)) if whole.text == streamed.text => (
            Verdict::Good,
            bilingual!(
                "A Japanese stream ends, with the same text",
                "日本語のストリームは最後まで届き、テキストも一致します"
            ),
        ),
        (Ok(_), Ok(_)) => (
            Verdict::Warning,
            bilingual!(
                "A Japanese stream ends, but its text differs",
                "日本語のストリームは最後まで届きますが、テキストが異なります"
            ),
        ),
        (Ok(_), Err(ClientError::StreamStopped { .. })) => (
            Verdict::Warning,
            bilingual!(
                "A Japanese stream stops half-way: use non-stream output",
                "日本語のストリームが途中で止まります。非ストリーム出力を使ってください"
            ),
        ),
        (Ok(_), Err(_)) => (
            Verdict::Warning,
            bilingual!(
                "A Japanese stream fails: use non-stream output",
                "日本語のストリームが失敗します。非ストリーム出力を使ってください"
            ),
        ),
        (Err(_), _) => (
            Verdict::Broken,
            bilingual!(
                "A Japanese prompt gets no answer",
                "日本語のプロンプトに応答がありません"
            ),
        ),
    };
    let finding = Finding::new(ID, "8.3", verdict, title, text)
        .fact(bilingual!("whole", "一括"), whole)
        .wrong_if(outcomes[0].is_err())
        .fact(bilingual!("streamed", "ストリーム"), streamed)
        .wrong_if(verdict != Verdict::Good);
    // softprefix-unit never splits a character, so any difference is a fault of it.
    if is_softprefix_unit && verdict == Verdict::Warning {
        Finding {
            verdict: Verdict::Broken,
            ..finding
        }
    } else {
        finding
    }
}

fn set_up_failed(model: &str, error: &ClientError) -> Finding {
    let (section, title) = match error.code() {
        Some(code) if code == Code::UNIT_CALL => (
            "8.1",
            bilingual!(
                "\"unit call false (-9)\": the LLM unit is not running",
                "「unit call false (-9)」：LLM ユニットが動いていません"
            ),
        ),
        Some(code) if code == Code::TASK_FULL => {
            ("8.2", bilingual!("All tasks are taken", "タスクがすべて使われています"))
        }
        _ => ("8.1", bilingual!("{model} does not set up", "{model} を設定できません")),
    };
    finding_of_error(SET_UP, section, title, error)
}

fn finding_of_error(id: &'static str, section: &'static str, title: Bilingual, error: &ClientError) -> Finding {
    Finding::new(id, section, Verdict::Broken, title, errors::client(error).whole())
}

async fn infer(task: &Task, prompt: &str, prefix: Option<SoftPrefix>) -> Result<Outcome, ClientError> {
    task.infer(
        InferenceRequest::new(prompt)
            .prefix(prefix)
            .max_new_tokens(OUTPUT_TOKENS),
    )
    .outcome()
    .await
}
