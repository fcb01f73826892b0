//! What is wrong with a policy, each error with its place in the text. Rendered as compilers do, with the lines themselves.

use std::{fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Errors beyond this number are not collected: nobody reads them, and the first ones are likely their cause.
const MAX_PROBLEMS: usize = 100;

/// Byte offsets into the policy's text.
pub(crate) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// The policy's text under the name that messages call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: Arc<str>,
}

/// Why a policy cannot be used: at least one error, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors {
    source: Source,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    span: Span,
    message: String,
    hint: String,
}

/// Collects errors while a policy is read, so that a person sees all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes that `message` is wrong at `span`, and what to do about it.
    pub(crate) fn add(&mut self, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem { span: span.clone(), message: message.into(), hint: hint.into() });
        }
    }

    /// `value` if nothing was noted, else the errors.
    pub(crate) fn into_result<T>(self, source: &Source, value: Option<T>) -> Result<T, PolicyErrors> {
        let mut problems = self.0;
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            Some(_) | None => {
                problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
                problems.dedup();
                Err(PolicyErrors { source: source.clone(), problems })
            }
        }
    }
}

impl PolicyErrors {
    /// Each error as (line, column, message): lines and columns count from 1, columns in characters.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.problems.iter().map(|problem| {
            let (line, column) = self.place(problem);
            (line, column, problem.message.as_str())
        })
    }

    /// What to do about each error, in the order of [`iter`](Self::iter).
    pub fn hints(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|problem| problem.hint.as_str())
    }

    /// The name of the policy, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.name
    }

    fn place(&self, problem: &Problem) -> (usize, usize) {
        let before = self.source.text.get(..problem.span.start).unwrap_or(&self.source.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    fn render(&self, problem: &Problem) -> String {
        let length = self.source.text.len();
        let span = problem.span.start.min(length)..problem.span.end.min(length);
        let snippet = Snippet::source(&*self.source.text)
            .path(self.source.name.as_str())
            .annotation(AnnotationKind::Primary.span(span));
        let mut report = Level::ERROR.primary_title(problem.message.as_str()).element(snippet);
        if !problem.hint.is_empty() {
            report = report.element(Level::HELP.message(problem.hint.as_str()));
        }
        Renderer::plain().render(&[report])
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            writeln!(f, "{}", self.render(problem))?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}
