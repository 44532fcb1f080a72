//! Searches modules while the sheet that lists them is open, and stores those that are used.

use crate::messages::{DiscoveryEvent, DiscoveryRequest, Request};
use crate::model::{ModuleFacts, Target, UsedModule};
use crate::workbench::{Dialog, Workbench};

impl Workbench {
    /// Starts or ends the search. Called after every action and event. A recording needs no module, so that nothing is
    /// searched while one is shown.
    pub(in crate::workbench) fn search_modules(&mut self) {
        let wanted = self.settings.discover && self.dialog == Some(Dialog::Connect) && self.playback.is_none();
        if wanted == self.discovery.is_searching {
            return;
        }
        self.discovery.is_searching = wanted;
        self.pending_requests.push(Request::Discovery(if wanted {
            self.discovery.found.clear();
            self.discovery.problem = None;
            let known = self.settings.used_modules.iter().map(|used| used.address.clone());
            DiscoveryRequest::Start { known: known.collect() }
        } else {
            DiscoveryRequest::Stop
        }));
    }

    pub(in crate::workbench) fn absorb_discovery(&mut self, event: DiscoveryEvent) {
        match event {
            // Of a search that was ended.
            _ if !self.discovery.is_searching => {}
            DiscoveryEvent::Found(found) => {
                let known = &mut self.discovery.found;
                match known.iter_mut().find(|known| known.address == found.address) {
                    Some(known) => *known = found,
                    None => known.push(found),
                }
            }
            DiscoveryEvent::Failed(problem) => self.discovery.problem = Some(problem),
        }
    }

    /// Stores the module that is used now.
    pub(in crate::workbench) fn remember_module(&mut self, facts: &ModuleFacts) {
        let Target::Remote { address, .. } = &self.target else {
            return;
        };
        let used = &mut self.settings.used_modules;
        used.retain(|used| used.address != *address);
        used.insert(
            0,
            UsedModule {
                address: address.clone(),
                model: facts.identity.model.clone(),
                ours: facts.is_ours(),
            },
        );
        used.truncate(UsedModule::MAX);
    }
}
