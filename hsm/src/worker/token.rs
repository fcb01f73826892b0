//! The one token that is served: found, logged in to, lost and found again.
//!
//! In: requests, on any thread. Out: their results. A wrong PIN is tried once and then never again by itself,
//! because a token locks after a few; and "no such key" is believed only of a token that is still there.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;

use super::keys::TokenSession;
use super::module::{Failure, failed, is_stale, load};
use super::{generate, keys};
use crate::config::Config;
use crate::pin::Pin;
use crate::protocol::{KeyError, ModuleStatus, PinRefusal, PinStatus, Reply, Request, Status, TokenStatus};
use crate::uri::KeyUri;

/// How long a failure to open the token is believed before it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How many slots of a module are looked at.
const MAX_SLOTS: usize = 256;

#[derive(Debug)]
pub(super) struct TokenKeeper {
    path: PathBuf,
    label: String,
    serial: Option<String>,
    /// Read by every operation, written only to open the token: nothing uses a session while all are replaced.
    state: RwLock<State>,
    /// Protects a PIN that waits for the next opening.
    new_pin: Mutex<Option<Pin>>,
    /// Protects what `status` tells without asking the module.
    notes: Mutex<Notes>,
}

#[derive(Debug)]
struct State {
    /// Rises with every opening, so that of several threads that found the token gone one opens it.
    generation: u64,
    module: Option<Pkcs11>,
    initialized: bool,
    token: Option<Token>,
    failure: Option<(Instant, KeyError)>,
    pin: Pin,
    refusal: Option<PinRefusal>,
}

#[derive(Debug)]
struct Notes {
    pin: PinStatus,
    module: Option<String>,
}

/// The token while it is open.
#[derive(Debug)]
pub(super) struct Token {
    module: Pkcs11,
    slot: Slot,
    pub(super) label: String,
    serial: String,
    manufacturer: String,
    model: String,
    /// Protects the sessions that nobody uses now.
    idle: Mutex<Vec<TokenSession>>,
    /// Protects a label from being taken twice.
    generating: Mutex<()>,
    /// Keeps the login alive: a token logs out when its last session closes.
    _login: Mutex<Session>,
}

impl TokenKeeper {
    pub(super) fn new(config: Config, pin: Pin) -> Self {
        TokenKeeper {
            path: config.module,
            label: config.token,
            serial: config.serial,
            state: RwLock::new(State {
                generation: 0,
                module: None,
                initialized: false,
                token: None,
                failure: None,
                pin,
                refusal: None,
            }),
            new_pin: Mutex::new(None),
            notes: Mutex::new(Notes { pin: PinStatus::Untried, module: None }),
        }
    }

    /// Does one request, opening the token first where needed, and once more where it was lost.
    pub(super) fn perform(&self, request: &Request) -> Result<Reply, KeyError> {
        let mut opened_for_this = false;
        loop {
            let seen = {
                let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(token) = &state.token {
                    match token.perform(request) {
                        Ok(reply) => return Ok(reply),
                        Err(failure) if opened_for_this || !token.is_lost(&failure) => {
                            return Err(self.tell(failure));
                        }
                        Err(failure) => {
                            tracing::warn!(?failure, "the token does not answer as before; opening it anew")
                        }
                    }
                }
                state.generation
            };
            self.open(seen)?;
            opened_for_this = true;
        }
    }

    /// What can be told without the module, around what is known of the token.
    pub(super) fn status(&self, token: TokenStatus) -> Status {
        let notes = lock(&self.notes);
        Status {
            worker: env!("CARGO_PKG_VERSION").to_owned(),
            module: ModuleStatus { path: self.path.display().to_string(), description: notes.module.clone() },
            token,
            pin: notes.pin,
            threads: 0,
            hung: 0,
        }
    }

    /// Keeps a new PIN for the next opening, without waiting for the module.
    pub(super) fn reload(&self, pin: Pin) {
        *lock(&self.new_pin) = Some(pin);
    }

    /// Closes the sessions and lets the module go, if nothing uses it.
    pub(super) fn close(&self) {
        if let Ok(mut state) = self.state.try_write() {
            state.token = None;
            if let Some(module) = state.module.take().filter(|_| state.initialized) {
                let _ = module.finalize();
            }
        }
    }

    fn tell(&self, failure: Failure) -> KeyError {
        match failure {
            Failure::Answer(error) => error,
            Failure::Module(error) => failed(&error),
            Failure::TokenGone => KeyError::TokenAbsent { token: self.label.clone() },
        }
    }

    /// Opens the token anew, unless another thread has done so since generation `seen`.
    fn open(&self, seen: u64) -> Result<(), KeyError> {
        // Waits without limit for operations under way: if one hangs, this thread shall count as hung too.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.generation != seen {
            return Ok(());
        }
        if let Some(pin) = lock(&self.new_pin).take() {
            state.pin = pin;
            state.refusal = None;
            state.failure = None;
            lock(&self.notes).pin = PinStatus::Untried;
        }
        if let Some(why) = state.refusal {
            return Err(KeyError::PinRefused { why });
        }
        if let Some((_, error)) = state.failure.as_ref().filter(|(when, _)| when.elapsed() < RETRY_AFTER) {
            return Err(error.clone());
        }
        // Sessions first: after C_Finalize their numbers may come to name others.
        state.token = None;
        match self.find_and_log_in(&mut state) {
            Ok(token) => {
                tracing::info!(label = token.label, serial = token.serial, "opened the token");
                state.token = Some(token);
                state.failure = None;
                state.generation += 1;
                Ok(())
            }
            Err(error) => {
                let told_before = state.failure.as_ref().is_some_and(|(_, before)| *before == error);
                if !told_before {
                    tracing::error!(%error, "failed to open the token");
                }
                state.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn find_and_log_in(&self, state: &mut State) -> Result<Token, KeyError> {
        let module = match &state.module {
            Some(module) => module.clone(),
            None => state.module.insert(load(&self.path)?).clone(),
        };
        if state.initialized {
            // Slot numbers and handles of before are void after this, on purpose: some modules notice a token
            // that was pulled and put back only at C_Initialize.
            let _ = module.clone().finalize();
            state.initialized = false;
        }
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => state.initialized = true,
            Err(error) => return Err(unconfigured(failed(&error))),
        }
        if let Ok(info) = module.get_library_info() {
            let description = format!("{} {}", info.manufacturer_id(), info.library_description());
            lock(&self.notes).module = Some(description);
        }
        let (slot, info) = self.find(&module)?;
        let login = self.log_in(&module, slot, &info, state)?;
        Ok(Token {
            module,
            slot,
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            idle: Mutex::default(),
            generating: Mutex::new(()),
            _login: Mutex::new(login),
        })
    }

    fn find(&self, module: &Pkcs11) -> Result<(Slot, TokenInfo), KeyError> {
        let slots = module.get_slots_with_token().map_err(|error| failed(&error))?;
        let mut matching = slots.into_iter().take(MAX_SLOTS).filter_map(|slot| {
            // A slot that fails is not the one; the others still count.
            let info = module.get_token_info(slot).ok()?;
            let ours = info.token_initialized()
                && info.label() == self.label
                && self.serial.as_ref().is_none_or(|serial| info.serial_number() == serial);
            ours.then_some((slot, info))
        });
        let first = matching.next().ok_or_else(|| KeyError::TokenAbsent { token: self.label.clone() })?;
        match matching.count() {
            0 => Ok(first),
            more => {
                let count = u32::try_from(more + 1).unwrap_or(u32::MAX);
                Err(KeyError::AmbiguousToken { token: self.label.clone(), count })
            }
        }
    }

    fn log_in(&self, module: &Pkcs11, slot: Slot, info: &TokenInfo, state: &mut State) -> Result<Session, KeyError> {
        let refusal = if !info.user_pin_initialized() {
            Some(PinRefusal::NotInitialized)
        } else if info.user_pin_locked() {
            Some(PinRefusal::Locked)
        } else if info.user_pin_final_try() {
            Some(PinRefusal::LastTry)
        } else {
            None
        };
        if let Some(why) = refusal {
            return Err(self.refuse_pin(why, state));
        }
        let session = module.open_ro_session(slot).map_err(|error| failed(&error))?;
        let pin = RawAuthPin::new(Box::new(state.pin.expose().to_vec()));
        match session.login_with_raw(UserType::User, &pin) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                lock(&self.notes).pin = PinStatus::Accepted;
                Ok(session)
            }
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                Err(self.refuse_pin(PinRefusal::Wrong, state))
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(self.refuse_pin(PinRefusal::Locked, state)),
            Err(Error::Pkcs11(RvError::PinExpired, _)) => Err(self.refuse_pin(PinRefusal::Expired, state)),
            Err(Error::Pkcs11(RvError::UserPinNotInitialized, _)) => {
                Err(self.refuse_pin(PinRefusal::NotInitialized, state))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Remembers the refusal, so that the same PIN is not tried again.
    fn refuse_pin(&self, why: PinRefusal, state: &mut State) -> KeyError {
        state.refusal = Some(why);
        lock(&self.notes).pin = PinStatus::Refused;
        KeyError::PinRefused { why }
    }
}

impl Token {
    fn perform(&self, request: &Request) -> Result<Reply, Failure> {
        match request {
            Request::Status {} => self.present().map(|token| Reply::Status(Status::of(token))),
            Request::List {} => {
                let list = self.with_session(|session| keys::list(session, self))?;
                // An absent token lists nothing and calls it success.
                self.present()?;
                Ok(Reply::Keys(list))
            }
            Request::Public { uri } => {
                self.serves(uri)?;
                self.with_session(|session| keys::public(session, self, uri)).map(Reply::Key)
            }
            Request::Sign(request) => {
                self.serves(&request.uri)?;
                let signature = self.with_session(|session| session.sign(request))?;
                Ok(Reply::Signature { signature })
            }
            Request::Verify(request) => {
                self.serves(&request.uri)?;
                self.with_session(|session| session.verify(request))?;
                Ok(Reply::Verified {})
            }
            Request::Generate(request) => {
                if let Some(token) = request.token.as_ref().filter(|token| **token != self.label) {
                    return Err(self.not_served(token).into());
                }
                let _alone = lock(&self.generating);
                let session = self.module.open_rw_session(self.slot)?;
                let key = generate::generate(&TokenSession::new(session), self, request)?;
                Ok(Reply::Key(key))
            }
        }
    }

    /// Lends a session; after a failure of the module it is closed, since an operation may still be active in it.
    fn with_session<T>(&self, work: impl FnOnce(&mut TokenSession) -> Result<T, Failure>) -> Result<T, Failure> {
        let idle = lock(&self.idle).pop();
        let mut session = match idle {
            Some(session) => session,
            None => TokenSession::new(self.module.open_ro_session(self.slot)?),
        };
        let result = work(&mut session);
        match &result {
            Ok(_) | Err(Failure::Answer(_)) => lock(&self.idle).push(session),
            Err(Failure::Module(_) | Failure::TokenGone) => {}
        }
        result
    }

    /// The token's health: PKCS#11 finds nothing in, and opens sessions on, a token that is gone, so only its own
    /// information tells.
    fn present(&self) -> Result<TokenStatus, Failure> {
        let info = self.module.get_token_info(self.slot).map_err(|_| Failure::TokenGone)?;
        if info.label() != self.label || info.serial_number() != self.serial {
            return Err(Failure::TokenGone);
        }
        Ok(TokenStatus::Present {
            label: self.label.clone(),
            serial: self.serial.clone(),
            manufacturer: self.manufacturer.clone(),
            model: self.model.clone(),
        })
    }

    /// Whether a failure may be due to the token being gone, or back with other handles.
    fn is_lost(&self, failure: &Failure) -> bool {
        match failure {
            Failure::TokenGone => true,
            Failure::Module(error) => is_stale(error) || self.present().is_err(),
            Failure::Answer(KeyError::KeyNotFound { .. } | KeyError::UnusableKey { .. }) => self.present().is_err(),
            Failure::Answer(_) => false,
        }
    }

    /// Refuses a URI that names another token.
    fn serves(&self, uri: &KeyUri) -> Result<(), KeyError> {
        let texts = [
            (uri.token(), &self.label),
            (uri.serial(), &self.serial),
            (uri.manufacturer(), &self.manufacturer),
            (uri.model(), &self.model),
        ];
        for (asked, ours) in texts {
            if let Some(asked) = asked.filter(|asked| asked != ours) {
                return Err(self.not_served(asked));
            }
        }
        match uri.slot_id() {
            Some(asked) if asked != self.slot.id() => Err(self.not_served(&format!("slot {asked}"))),
            _ => Ok(()),
        }
    }

    fn not_served(&self, token: &str) -> KeyError {
        KeyError::TokenNotServed { token: token.to_owned(), served: self.label.clone() }
    }
}

impl Status {
    /// Only the token's part; the keeper and the pool fill in theirs.
    fn of(token: TokenStatus) -> Self {
        Status {
            worker: String::new(),
            module: ModuleStatus { path: String::new(), description: None },
            token,
            pin: PinStatus::Untried,
            threads: 0,
            hung: 0,
        }
    }
}

/// What these locks protect is consistent at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A module that does not even start misses its own configuration, most often.
fn unconfigured(error: KeyError) -> KeyError {
    match error {
        KeyError::ModuleFailed { call, rv } => KeyError::ModuleFailed {
            call,
            rv: format!(
                "{rv}; if the module needs a variable for its configuration, such as SOFTHSM2_CONF, set it under [environment] in \
                 keyd.toml (`assay node up --token-env NAME=VALUE` writes it) and see that the key worker's user may read that file"
            ),
        },
        other => other,
    }
}
