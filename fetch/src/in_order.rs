//! Work that runs at once and whose results come out in the order in which it was added, whatever is done first.
//! Knows nothing of registries.

use std::{collections::VecDeque, future::Future};

use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};

/// Tasks and their results to come. Dropped, it ends the tasks.
#[derive(Debug)]
pub(crate) struct InOrder<T> {
    tasks: JoinSet<()>,
    results: VecDeque<(AbortHandle, oneshot::Receiver<T>)>,
}

/// The task of a result panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl<T: Send + 'static> InOrder<T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), results: VecDeque::new() }
    }

    /// Starts `work`; its result stands behind those of what was added before.
    pub(crate) fn add(&mut self, work: impl Future<Output = T> + Send + 'static) {
        let (sender, receiver) = oneshot::channel();
        let task = self.tasks.spawn(async move {
            // The receiver is gone only together with this task.
            let _ = sender.send(work.await);
        });
        self.results.push_back((task, receiver));
    }

    /// Ends what was added last, if its result was not taken yet.
    pub(crate) fn withdraw_last(&mut self) {
        if let Some((task, _)) = self.results.pop_back() {
            task.abort();
        }
    }

    /// How many results were not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.results.len()
    }

    /// Waits for the next result in order; `None` when all were taken.
    pub(crate) async fn next(&mut self) -> Option<Result<T, Panicked>> {
        let (_, receiver) = self.results.front_mut()?;
        let result = receiver.await.map_err(|_| Panicked);
        self.results.pop_front();
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_done_first_does_not_come_out_first() {
        let mut numbers = InOrder::new();
        for number in 0..5_u64 {
            numbers.add(async move {
                tokio::time::sleep(Duration::from_millis(50 - 10 * number)).await;
                number
            });
        }
        let mut found = Vec::new();
        while let Some(number) = numbers.next().await {
            found.push(number);
        }
        assert_eq!(found, [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_panic_takes_its_own_result_and_no_other() {
        let mut numbers = InOrder::new();
        numbers.add(async { 1 });
        numbers.add(async { panic!("injected") });
        numbers.add(async { 3 });
        assert_eq!(numbers.next().await, Some(Ok(1)));
        assert_eq!(numbers.next().await, Some(Err(Panicked)));
        assert_eq!(numbers.next().await, Some(Ok(3)));
        assert_eq!(numbers.next().await, None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_withdrawn_or_dropped_ends() {
        let alive = Arc::new(());
        let mut tasks = InOrder::new();
        for _ in 0..2 {
            let alive = alive.clone();
            tasks.add(async move {
                std::future::pending::<()>().await;
                drop(alive);
            });
        }
        tasks.withdraw_last();
        tokio::task::yield_now().await;
        assert_eq!((tasks.len(), Arc::strong_count(&alive)), (1, 2));
        drop(tasks);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
