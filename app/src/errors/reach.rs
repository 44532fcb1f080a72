//! Words for errors between the app and a module: the connection, error codes and time-outs.

use std::fmt::Display;
use std::io;

use softprefix_core::client::ClientError;
use softprefix_core::protocol::message::SYS;
use softprefix_core::protocol::{Code, ErrorField};

use super::{ErrorText, Part, because, prefix};
use crate::model::{Bilingual, Endpoint, Problem, ProblemKind, bilingual};

/// Describes a client's error. The client's messages separate what happened from what to do by a semicolon.
#[must_use]
pub fn client(error: &ClientError) -> ErrorText {
    let (what, todo) = match error {
        ClientError::Refused {
            action,
            work_id,
            error: field,
        } => return refusal(action, work_id, field),
        ClientError::Prefix(error) => return prefix(error),
        other => japanese(other),
    };
    ErrorText::of(&error.to_string(), Part::First("; "), what, todo)
}

/// Describes why OSC cannot be received on an address.
pub fn cannot_listen(endpoint: &Endpoint, error: &io::Error) -> Problem {
    let (sentence, remedy) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            bilingual!(
                "{endpoint} is in use by another program, so no OSC is received.",
                "{endpoint} は別のプログラムが使用中のため、OSC を受信できません。"
            ),
            Bilingual::new(
                "Close that program, or choose another port here and in the sender.",
                "そのプログラムを終了するか、送信側と合わせて別のポートを選んでください。",
            ),
        ),
        _ => (
            Bilingual::new(
                format!("No OSC can be received on {endpoint} ({error})."),
                because(&format!("{endpoint} では OSC を受信できません"), &error.to_string()),
            ),
            Bilingual::new(
                "Choose an address of this computer, such as 127.0.0.1:9000, with a port above 1023.",
                "127.0.0.1:9000 のような、このコンピューターのアドレスと 1024 以上のポートを指定してください。",
            ),
        ),
    };
    Problem::new(ProblemKind::Connection, sentence, remedy)
}

/// Describes why modules on the local network cannot be found.
pub fn cannot_search(error: &impl Display) -> Problem {
    Problem::new(
        ProblemKind::Connection,
        Bilingual::new(
            format!("The local network cannot be searched for modules ({error})."),
            because("ローカルネットワークのモジュールを探せません", &error.to_string()),
        ),
        Bilingual::new(
            "Allow this program to use the local network, or enter the module's address.",
            "本ソフトにローカルネットワークの使用を許可するか、モジュールのアドレスを入力してください。",
        ),
    )
}

/// Describes why OSC cannot be sent to an address.
pub fn cannot_send(address: &str, error: &io::Error) -> Problem {
    Problem::new(
        ProblemKind::Connection,
        Bilingual::new(
            format!("No OSC can be sent to {address} ({error})."),
            because(&format!("{address} に OSC を送信できません"), &error.to_string()),
        ),
        Bilingual::new(
            "Check the address and the network.",
            "アドレスとネットワークを確かめてください。",
        ),
    )
}

fn japanese(error: &ClientError) -> (String, String) {
    let kept = |text: &str| text.chars().count();
    let (what, todo) = match error {
        ClientError::Connect { address, detail } => (
            because(&format!("{address} に接続できませんでした"), detail),
            "アドレス、モジュールの電源とネットワーク、モジュールで llm-sys が動いていること（`systemctl status llm-sys`）を確かめてください。",
        ),
        ClientError::ConnectTimedOut { address, seconds } => (
            format!("{address} は {seconds} 秒以内に接続を受け付けませんでした。"),
            "アドレスとネットワーク、モジュールの電源を確かめてください。",
        ),
        ClientError::ConnectionLost { address, detail } => (
            because(&format!("{address} との接続が切れました"), detail),
            "再接続してモデルを設定し直してください（llm-sys が再起動した場合、タスクは失われています）。",
        ),
        ClientError::Garbage { address, excerpt } => (
            format!("{address} は StackFlow の相手ではありません（届いた内容：{excerpt:?}）。"),
            "ホストとポートを確かめてください（モジュールの llm-sys は 10001 番で待ち受けます）。",
        ),
        ClientError::NoAnswer {
            action,
            work_id,
            seconds,
        } => (
            format!("{work_id} が {seconds} 秒以内に「{action}」に応答しませんでした。"),
            match work_id.as_str() {
                SYS => "もう一度試し、応答がないままならモジュールで再起動してください（`systemctl restart llm-sys`）。",
                _ => "もう一度試し、応答がないままならモジュールで再起動してください（`systemctl restart llm-llm`）。",
            },
        ),
        ClientError::Unreadable { action, detail } => (
            because(&format!("「{action}」への応答を読めません"), detail),
            "モジュールのソフトウェアを更新するか、このアドレスで何が応答しているかを確かめてください。",
        ),
        ClientError::SetUpTimedOut { model, seconds } => (
            format!("{model} の設定に {seconds} 秒以上かかりました。"),
            "モジュールの手が空くのを待ってもう一度試すか、llm-llm を再起動してください。",
        ),
        ClientError::TaskFull { ids } => (
            format!("モジュールのタスクの空きがありません（使用中：{}）。", ids.join("、")),
            "ほかのクライアントのもの、または以前のクライアントが残したものなので、勝手には終了しません。要らないタスクを終了してから、もう一度設定してください。",
        ),
        ClientError::TaskGone { work_id, detail } => (
            because(&format!("タスク {work_id} はモジュールにもうありません"), detail),
            "モデルを設定し直してください。",
        ),
        ClientError::UnitSilent { work_id, seconds } => (
            format!("ユニットが固まっています。{work_id} は {seconds} 秒待っても、推論にも状態の問い合わせにも応答しません。"),
            "モジュールでユニットを再起動し（`systemctl restart llm-llm`）、設定し直してください。",
        ),
        ClientError::NeverAnswered { work_id, seconds } => (
            format!("モジュールは推論を受け付けましたが、{work_id} が動いているのに {seconds} 秒待っても応答しませんでした。"),
            "モデルを設定し直すか、プロンプトを短くするか、待ち時間を延ばしてください。",
        ),
        ClientError::StreamStopped { text, seconds } => (
            format!("ストリームが終わりの合図なしに止まりました（{} 文字のあと {seconds} 秒間何も届かず。届いた分は残しています）。", kept(text)),
            "ストリームではなく一括の出力にしてください（標準ユニットのストリームは、二つのトークンに分かれた文字で止まります）。",
        ),
        ClientError::DeadlinePassed { text, seconds } => (
            format!("推論が {seconds} 秒で終わらなかったため停止しました（{} 文字を残しています）。", kept(text)),
            "待ち時間を延ばすか、トークン数を減らしてください。",
        ),
        ClientError::Stopped { text } => (format!("推論を停止しました（{} 文字を残しています）。", kept(text)), ""),
        ClientError::EmptyAnswer => (
            "モジュールが空のテキストを返しました。標準ユニットは、プレフィックスと入力が文脈長に収まらないとき、または max_token_len \
             （プレフィックス＋入力＋出力）に余裕がないとき、こう答えます。"
                .to_owned(),
            "入力かプレフィックスを短くするか、max_token_len を増やしてください。",
        ),
        ClientError::EmptyPrompt => (
            "プロンプトが空です。".to_owned(),
            "何か書いてください（標準ユニットは何も言わずに捨てます）。",
        ),
        ClientError::NulInPrompt => (
            "プロンプトに NUL 文字があります。ユニットはそこで文を切ってしまいます。".to_owned(),
            "取り除いてください。",
        ),
        ClientError::PrefixNotConfirmed { detail } => (
            because("ユニットが送ったプレフィックスを確認しなかったため、この出力がそれによるものとは言えません", detail),
            "softprefix-unit を更新して、もう一度試してください。",
        ),
        ClientError::Unsupported { work_id, feature } => (
            format!("{work_id} では「{feature}」ができません。softprefix-unit だけの機能です。"),
            "内蔵モジュールか softprefix-unit に接続してください。",
        ),
        // Handled by `client`.
        ClientError::Refused { .. } | ClientError::Prefix(_) => (error.to_string(), ""),
    };
    (what, todo.to_owned())
}

/// Describes an error code that a module answered with, and its message.
#[must_use]
pub fn refusal(action: &str, work_id: &str, field: &ErrorField) -> ErrorText {
    let ErrorField { code, message } = field;
    let english = ClientError::Refused {
        action: action.to_owned(),
        work_id: work_id.to_owned(),
        error: field.clone(),
    };
    // The unit's own explanation is what follows the stock message, or the whole message where the code has no stock
    // one.
    let own = match code.stock_message() {
        Some(stock) => message
            .strip_prefix(stock)
            .map_or(message.as_str(), |own| own.trim_start_matches('.'))
            .trim(),
        None => message.trim(),
    };
    let mut what = format!(
        "{work_id} が「{action}」を断りました（コード {code}）。{}。",
        meaning(*code)
    );
    if !own.is_empty() {
        what += &format!("ユニットの説明：「{own}」。");
    }
    let english = english.to_string();
    let mark = if english.contains(". ") { ". " } else { "; " };
    ErrorText::of(&english, Part::First(mark), what, remedy(*code))
}

/// Returns the meaning of a code as a Japanese clause.
fn meaning(code: Code) -> &'static str {
    match code {
        Code::RESET => "llm-sys がこの接続の通信の区切りを見失いました",
        Code::JSON => "要求が想定どおりの JSON ではありませんでした",
        Code::ACTION => "llm-sys が知らない、または許していない操作です",
        Code::PUSH => "llm-sys はこの番号のタスクを知りません",
        Code::MODEL_LOADING => "ユニットがモデルを読み込めませんでした",
        Code::NO_SUCH_UNIT => "ユニットにこの番号のタスクはありません",
        Code::UNIT_CALL => "モジュールでユニットが動いていません（「unit call false」）",
        Code::NOT_AVAILABLE => "llm-sys では今これを使えません",
        Code::MODEL_RUN => "モデルを実行できなかったか、テキストが届いたときにはタスクがありませんでした",
        Code::FILE => "ファイルがないか、パスが絶対パスではありません",
        Code::NO_UNIT_ACTION => "ユニットが知らない操作です",
        Code::LINK => "タスクをつなげませんでした",
        Code::TASK_FULL => "ユニットのタスクの空きがありません（「task full」）",
        Code::PARAMETER => "パラメーターの形式が正しくありません",
        Code::BASE64 => "base64 のテキストを復号できませんでした",
        Code::NO_DATA => "推論に送るテキストがありませんでした",
        Code::STREAM_INDEX => "プロンプトのフレームが 0, 1, 2 … の順に届きませんでした",
        Code::PREFIX_SIZE => "プレフィックスの大きさか型が正しくありません",
        Code::PREFIX_NOT_FINITE => "プレフィックスに NaN か無限大が含まれています",
        Code::WINDOW => "プレフィックス・入力・出力が文脈長に収まりません",
        Code::PREFIX_UNUSABLE => "この要求ではプレフィックスを使えません",
        Code::EMPTY_PROMPT => "プロンプトが空です",
        Code::TEXT_REFUSED => "このモデルのチャットテンプレートでは使えないテキストです",
        _ => "このソフトが知らないコードです",
    }
}

/// Returns the Japanese remedy for a code.
fn remedy(code: Code) -> &'static str {
    match code {
        Code::RESET => "再接続してください。繰り返す場合、ほかのプログラムが同じ接続に書いているかもしれません。",
        Code::JSON => "以前は通っていた要求なら、再接続してください。",
        Code::ACTION => "モジュールの llm-sys を更新してください。",
        Code::PUSH => {
            "モデルを設定し直してください。設定に失敗したか、タスクが終了されたか、llm-sys が再起動しています。"
        }
        Code::MODEL_LOADING => {
            "モデル名が一覧にあるか、そのパッケージがモジュールに入っているか、別のモデルがメモリーを占めていないかを確かめてください\
             （llm-llm を再起動すると解放されます）。"
        }
        Code::NO_SUCH_UNIT => "モデルを設定し直してください。ユニットが再起動したか、タスクが終了しています。",
        Code::UNIT_CALL => {
            "「診断」で 2・3・4 節を調べてください。多くは GLIBCXX_3.4.30 か libax_interpreter.so が見つからないことが原因です。"
        }
        Code::NOT_AVAILABLE => "ユニット自身に尋ねてください（「taskinfo」）。",
        Code::MODEL_RUN => "モデルを設定し直し、それでも失敗するならモジュールの llm-llm を再起動してください。",
        Code::FILE => "モジュールにあるファイルの絶対パスを指定してください。",
        Code::NO_UNIT_ACTION => {
            "「setup」「inference」「pause」「exit」「taskinfo」「link」「unlink」のいずれかを使ってください。"
        }
        Code::LINK => "相手のユニットのタスクを先に設定してください。つなげるのは「asr」と「kws」だけです。",
        Code::TASK_FULL => "要らないタスクを終了してから、もう一度設定してください。",
        Code::PARAMETER => "要求のパラメーターを確かめてください。",
        Code::BASE64 => "改行のない標準の base64 で送ってください。",
        Code::NO_DATA | Code::EMPTY_PROMPT => "プロンプトを書いてください。",
        Code::TEXT_REFUSED => "プロンプトかシステムプロンプトを変えてください。",
        Code::STREAM_INDEX => {
            "フレームを 0, 1, 2 … の順に送り、ほかのクライアントがこのタスクに書かないようにしてください。"
        }
        Code::PREFIX_SIZE => "このモデルの隠れ層の幅 H に合わせてプレフィックスを作り直してください。",
        Code::PREFIX_NOT_FINITE => "大きさを小さくするか、データを直してください。",
        Code::WINDOW => "入力・プレフィックス・出力のいずれかを短くしてください。",
        Code::PREFIX_UNUSABLE => "プレフィックスはストリーム形式の、「finish」が true のフレームで送ってください。",
        _ => "モジュールのログを見てください（`journalctl -u llm-sys -u llm-llm`）。",
    }
}
