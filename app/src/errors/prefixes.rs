//! Words for errors of prefixes: lengths, widths, values that are not finite, the context window.

use softprefix_core::prefix::PrefixError;

use super::{ErrorText, Part, because};

/// Describes what is wrong with a prefix.
#[must_use]
pub fn prefix(error: &PrefixError) -> ErrorText {
    let (what, todo) = japanese(error);
    ErrorText::of(&error.to_string(), Part::First("; "), what, todo)
}

fn japanese(error: &PrefixError) -> (String, String) {
    let (what, todo) = match error {
        PrefixError::LengthZero => (
            "プレフィックスの長さ P が 0 です。".to_owned(),
            "1 行以上にするか、プレフィックスなしにしてください（この二つは別の実験です）。".to_owned(),
        ),
        PrefixError::LengthNegative { len } => (
            format!("プレフィックスの長さ P が負の数（{len}）です。"),
            "P は行数です。1 以上にしてください。".to_owned(),
        ),
        PrefixError::LengthNotANumber { got } => (
            format!("プレフィックスの長さ P が整数ではありません（「{got}」）。"),
            "\"len\" は 1 以上の整数で送ってください。".to_owned(),
        ),
        PrefixError::LengthTooLarge { len, limit } => (
            format!("プレフィックスの長さ P = {len} は、どのモデルの文脈長にも収まりません（上限 {limit}）。"),
            "P を小さくしてください。".to_owned(),
        ),
        PrefixError::TooManyValues {
            len,
            hidden_size,
            limit,
        } => (
            format!(
                "P = {len} 行、H = {hidden_size} のプレフィックスは、1 つのメッセージで送れる大きさを超えています（上限 {limit} 個の値）。"
            ),
            "H を確かめるか、P を小さくしてください。".to_owned(),
        ),
        PrefixError::HiddenSizeZero => (
            "隠れ層の幅 H が 0 です。".to_owned(),
            "モデルカードの tokens_embed_size の値を使ってください。".to_owned(),
        ),
        PrefixError::NotAnObject { got } => (
            format!("soft_prefix がオブジェクトではありません（「{got}」）。"),
            "{\"len\": P, \"data_b64\": \"...\"} の形で送ってください。".to_owned(),
        ),
        PrefixError::FieldMissing { field } => (
            format!("soft_prefix に「{field}」がありません。"),
            "{\"len\": P, \"data_b64\": \"...\"} の形で送ってください。".to_owned(),
        ),
        PrefixError::DataNotAString { got } => (
            format!("soft_prefix.data_b64 が文字列ではありません（「{got}」）。"),
            "P × H 個のリトルエンディアン bf16 を base64 にして送ってください。".to_owned(),
        ),
        PrefixError::NotBase64 { detail } => (
            because("soft_prefix.data_b64 が base64 ではありません", detail),
            "P × H 個のリトルエンディアン bf16 を標準の base64 で送ってください。".to_owned(),
        ),
        PrefixError::WrongSize {
            got_bytes,
            expected_bytes,
            len,
            hidden_size,
        } => (
            format!(
                "プレフィックスは {got_bytes} バイトですが、P = {len}、H = {hidden_size} の bf16 なら {expected_bytes} バイトのはずです。"
            ),
            wrong_size(*got_bytes, *len, *hidden_size),
        ),
        PrefixError::RaggedValues { got, hidden_size } => (
            format!("{got} 個の値は、隠れ層の幅 H = {hidden_size} の行で割り切れません。"),
            format!("P × {hidden_size} 個の値にしてください。"),
        ),
        PrefixError::WrongWidth { got, hidden_size } => (
            format!("このプレフィックスは H = {got} 用ですが、モデルの隠れ層の幅は H = {hidden_size} です。"),
            "このモデルに合わせて作り直してください。".to_owned(),
        ),
        PrefixError::NotFinite { row, column, value } => (
            format!(
                "{} 行目の {} 番目の値が bf16 で {value} です。一つでも NaN や無限大があると、以降の位置がすべて壊れます。",
                row + 1,
                column + 1
            ),
            "大きさを小さくするか、データを直してください。".to_owned(),
        ),
        PrefixError::MagnitudeNotFinite { value } => (
            format!("大きさが {value} です。"),
            "有限の数にしてください。".to_owned(),
        ),
        PrefixError::MagnitudeNegative { value } => (
            format!("大きさがトークンノルムの {value} 倍です。ノルムは負になりません。"),
            "0 以上にしてください。".to_owned(),
        ),
        PrefixError::MedianNormUnusable { got } => (
            format!("ノルム比の大きさには語彙のノルムの中央値が必要です（得られた値：{got}）。"),
            "ユニットから語彙のノルムを取得するか、生の値で指定してください。".to_owned(),
        ),
        PrefixError::RowsMissing { text } => (
            format!("言葉から作るプレフィックスには「{text}」の埋め込み行が必要です。"),
            "先にユニットから埋め込みを取得してください。".to_owned(),
        ),
        PrefixError::NoTokens { text } => (
            format!("「{text}」にはトークンがなく、プレフィックスの行を作れません。"),
            "一語以上書いてください。".to_owned(),
        ),
        PrefixError::MagnitudeMissing { .. } => (
            "「行をそのまま使う」のは言葉かファイルの行だけです。".to_owned(),
            "大きさを、生の値かノルム比で指定してください。".to_owned(),
        ),
        PrefixError::BlendOutOfRange { t } => (
            format!("混ぜる割合が t = {t} です。"),
            "0（一つ目の端）から 1（二つ目の端）までの数にしてください。".to_owned(),
        ),
        PrefixError::NoContrast { text, minus } => (
            format!("「{text}」と「{minus}」は平均の行が同じで、差がありません。"),
            "異なる二つの文を選んでください。".to_owned(),
        ),
        PrefixError::SampleMissing => (
            "語彙から抽出するプレフィックスには、そのトークンの行が必要です。".to_owned(),
            "先にユニットから抽出した行を取得してください。".to_owned(),
        ),
        PrefixError::StoredMissing { name, sha256 } => (
            format!("「{name}」から読み込んだ行（sha256 {sha256}）が手元にありません。"),
            "ファイルをもう一度読み込んでください。".to_owned(),
        ),
        PrefixError::StoredUnreadable { name, detail } => (
            because(&format!("手元にある「{name}」の行を使えません"), detail),
            "元のファイルをもう一度読み込んでください。".to_owned(),
        ),
        PrefixError::StoredDiffers { name, sha256, found } => (
            format!("手元の「{name}」の行は sha256 {found} ですが、レシピでは {sha256} です。"),
            "元のファイルをもう一度読み込んでください。".to_owned(),
        ),
        PrefixError::SubspaceUnusable { detail } => (
            because("探索の点を使えません", detail),
            "元のプレフィックスから探索し直してください。".to_owned(),
        ),
        PrefixError::EnvelopeEmpty => (
            "行ごとの強さに点がありません。".to_owned(),
            "描くか、取り除いてください。".to_owned(),
        ),
        PrefixError::EnvelopeNotFinite { point, value } => (
            format!(
                "行ごとの強さの {} 番目の点が {value} です。どの係数も有限でなければなりません。",
                point + 1
            ),
            "描き直してください。".to_owned(),
        ),
        PrefixError::WindowExceeded {
            prefix,
            template,
            prompt,
            output,
            window,
        } => (
            format!(
                "プレフィックス {prefix} 行＋入力 {prompt} トークン（うち定型 {template}）＋出力 {output} で {} になり、文脈長 {window} を超えます。",
                *prefix as u128 + *prompt as u128 + *output as u128
            ),
            match window.checked_sub(*prompt) {
                Some(room) if room > 1 && *prefix >= room => {
                    format!("P を {room} 未満にするか、入力を短くしてください。")
                }
                _ => "入力・プレフィックス・出力のいずれかを短くしてください。".to_owned(),
            },
        ),
    };
    (what, todo)
}

/// Returns the remedy for data of the wrong size: the shape that the data would fit, if there is one.
fn wrong_size(got_bytes: usize, len: usize, hidden_size: usize) -> String {
    let row_bytes = hidden_size.saturating_mul(2);
    if row_bytes != 0 && got_bytes != 0 && got_bytes.is_multiple_of(row_bytes) {
        let rows = got_bytes / row_bytes;
        format!("これは P = {rows} 行分です。\"len\" を {rows} とするか、{len} 行分のデータを送ってください。")
    } else if got_bytes != 0 && len != 0 && got_bytes.is_multiple_of(len.saturating_mul(2)) {
        let width = got_bytes / (len * 2);
        format!("これは隠れ層の幅 H = {width} のモデルの行です。このモデルの H = {hidden_size} で作り直してください。")
    } else {
        format!("P × {hidden_size} 個のリトルエンディアン bf16 をちょうど送ってください。")
    }
}
