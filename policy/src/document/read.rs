//! Typed reading of a TOML table: a field is there with the right type, or an error names its place. Nothing is ignored:
//! a field nobody asked for is an error, and one that belongs to the language but is not built is refused by its name.

use std::num::IntErrorKind;

use assay_verify::SignerName;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::errors::{At, Problems, Span};

/// A table of the document, and what it is called in messages.
#[derive(Clone)]
pub(super) struct Section<'a, 'i> {
    what: &'static str,
    pub(super) span: Span,
    table: &'a DeTable<'i>,
}

/// The fields that a kind of table has.
pub(super) struct Fields {
    /// Those that mean something.
    pub(super) known: &'static [&'static str],
    /// Those of the language that this version cannot honour.
    pub(super) unsupported: &'static [&'static str],
}

const REFUSED: &str = "Assay refuses what it cannot honour rather than ignore it: take it out of the policy";

impl<'a, 'i> Section<'a, 'i> {
    /// The whole document. What is missing in it is reported at its beginning.
    pub(super) const fn root(table: &'a DeTable<'i>) -> Self {
        Self { what: "a policy", span: 0..0, table }
    }

    fn of(value: &'a Spanned<DeValue<'i>>, what: &'static str, problems: &mut Problems) -> Option<Self> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            problems.add(&value.span(), format!("{what} must be a table, not {}", kind(value.get_ref())), "");
        }
        table.map(|table| Self { what, span: value.span(), table })
    }

    /// Whether all fields are known and supported; each that is not is an error.
    pub(super) fn allow(&self, fields: &Fields, problems: &mut Problems) -> bool {
        let mut clean = true;
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if fields.unsupported.contains(&name) {
                problems.add(&key.span(), format!("`{name}` is not supported by this version"), REFUSED);
                clean = false;
            } else if !fields.known.contains(&name) {
                let hint = format!("the fields of {} are: {}", self.what, fields.known.join(", "));
                problems.add(&key.span(), format!("`{name}` is not a field of {}", self.what), hint);
                clean = false;
            }
        }
        clean
    }

    fn get(&self, field: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table.get(field)
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// Whether there is an entry `[field.name]`, be it right or wrong.
    pub(super) fn has_named(&self, field: &str, name: &SignerName) -> bool {
        let table = self.get(field).and_then(|value| value.get_ref().as_table());
        table.is_some_and(|table| table.contains_key(name.as_str()))
    }

    fn missing(&self, field: &str, hint: &str, problems: &mut Problems) {
        problems.add(&self.span, format!("{} needs `{field}`", self.what), hint);
    }

    /// A string, if the field is there.
    pub(super) fn text(&self, field: &str, problems: &mut Problems) -> Option<At<String>> {
        self.get(field).and_then(|value| text_of(value, field, problems))
    }

    /// A string that must be there; `hint` says what it looks like.
    pub(super) fn required_text(&self, field: &str, hint: &str, problems: &mut Problems) -> Option<At<String>> {
        if !self.has(field) {
            self.missing(field, hint, problems);
        }
        self.text(field, problems)
    }

    /// A whole number of at least 1 that must be there.
    pub(super) fn required_count(&self, field: &str, hint: &str, problems: &mut Problems) -> Option<At<u64>> {
        let Some(value) = self.get(field) else {
            self.missing(field, hint, problems);
            return None;
        };
        let Some(integer) = value.get_ref().as_integer() else {
            problems.add(&value.span(), wrong_type(field, "a whole number", value), hint);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        let is_too_large = number.as_ref().is_err_and(|error| *error.kind() == IntErrorKind::PosOverflow);
        let number = number.ok().filter(|number| *number > 0);
        if number.is_none() {
            let wrong = if is_too_large { "is larger than any number of its kind" } else { "must be at least 1" };
            problems.add(&value.span(), format!("`{field}` {wrong}"), hint);
        }
        number.map(|number| At { value: number, span: value.span() })
    }

    /// A whole number of at least `least`, if the field is there.
    pub(super) fn number(&self, field: &str, least: u64, hint: &str, problems: &mut Problems) -> Option<At<u64>> {
        let value = self.get(field)?;
        let Some(integer) = value.get_ref().as_integer() else {
            problems.add(&value.span(), wrong_type(field, "a whole number", value), hint);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| *number >= least);
        if number.is_none() {
            problems.add(&value.span(), format!("`{field}` must be at least {least}"), hint);
        }
        number.map(|number| At { value: number, span: value.span() })
    }

    /// A list of strings that is not empty, if the field is there.
    pub(super) fn texts(&self, field: &str, hint: &str, problems: &mut Problems) -> Vec<At<String>> {
        if self.has(field) { self.required_texts(field, hint, problems).unwrap_or_default() } else { Vec::new() }
    }

    /// A span of time in seconds, if the field is there: a whole number with `s`, `m`, `h` or `d` behind it.
    pub(super) fn seconds(&self, field: &str, problems: &mut Problems) -> Option<At<u32>> {
        let text = self.text(field, problems)?;
        let seconds = seconds_of(&text.value);
        if seconds.is_none() {
            let hint = "a whole number of seconds, minutes, hours or days: \"90s\", \"30m\", \"12h\", \"7d\"";
            problems.add(&text.span, format!("{:?} is no span of time", text.value), hint);
        }
        seconds.map(|value| At { value, span: text.span })
    }

    /// A list of strings that must be there and not be empty. Fewer come out than were written where some are wrong.
    pub(super) fn required_texts(&self, field: &str, hint: &str, problems: &mut Problems) -> Option<Vec<At<String>>> {
        let Some(value) = self.get(field) else {
            self.missing(field, hint, problems);
            return None;
        };
        let Some(array) = value.get_ref().as_array() else {
            problems.add(&value.span(), wrong_type(field, "a list of strings", value), hint);
            return None;
        };
        if array.is_empty() {
            problems.add(&value.span(), format!("`{field}` is empty, and an empty list satisfies nothing"), hint);
            return None;
        }
        Some(array.iter().filter_map(|value| text_of(value, field, problems)).collect())
    }

    /// A list of tables, `[[field]]` or `field = [{ … }]`; none if the field is missing.
    pub(super) fn sections(
        &self,
        field: &str,
        what: &'static str,
        hint: &str,
        problems: &mut Problems,
    ) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.get(field) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            problems.add(&value.span(), wrong_type(field, "a list of tables", value), hint);
            return Vec::new();
        };
        if array.is_empty() {
            problems.add(&value.span(), format!("`{field}` is empty, and an empty list satisfies nothing"), hint);
        }
        array.iter().filter_map(|value| Self::of(value, what, problems)).collect()
    }

    /// The tables of a table, `[field.NAME]`, each with its name.
    pub(super) fn named(
        &self,
        field: &str,
        what: &'static str,
        problems: &mut Problems,
    ) -> Vec<(At<SignerName>, Section<'a, 'i>)> {
        let Some(section) = self.get(field).and_then(|value| Self::of(value, what, problems)) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (key, value) in section.table {
            let name = match key.get_ref().parse::<SignerName>() {
                Ok(name) => At { value: name, span: key.span() },
                Err(error) => {
                    problems.add(&key.span(), format!("{:?} is no name: {error}", key.get_ref()), "");
                    continue;
                }
            };
            // The name is the better place for what is missing than the span of a table's content.
            if let Some(entry) = Self::of(value, what, problems) {
                entries.push((name, Section { span: key.span(), ..entry }));
            }
        }
        entries
    }
}

/// At least one second; one that 32 bits cannot hold is none.
fn seconds_of(text: &str) -> Option<u32> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = text.get(..text.len() - 1).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.parse::<u32>().ok()?.checked_mul(unit).filter(|seconds| *seconds > 0)
}

fn text_of(value: &Spanned<DeValue<'_>>, field: &str, problems: &mut Problems) -> Option<At<String>> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        problems.add(&value.span(), wrong_type(field, "a string", value), "");
    }
    text.map(|text| At { value: text.to_owned(), span: value.span() })
}

fn wrong_type(what: &str, expected: &str, value: &Spanned<DeValue<'_>>) -> String {
    format!("`{what}` must be {expected}, not {}", kind(value.get_ref()))
}

const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
