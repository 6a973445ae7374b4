//! A model check of the store's rules: every interleaving of the commands of workers, clients and reapers, for a small
//! fleet. Each world has a ledger that checks each command. The model check itself checks that queued jobs can be
//! claimed and that waiting workers are woken, because that needs a complete search. Planted bugs show that the check
//! finds errors.

#[cfg(test)]
mod explore;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod store;
#[cfg(test)]
mod wakes;
