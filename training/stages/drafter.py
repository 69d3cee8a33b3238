"""Stage D: the drafter learns to run ahead of the target.

It is fed as `generate(assistant_model=...)` feeds it. Standing on the last chosen token p it gets that token's scaled
embedding and the target's final hidden state of p - 1, at position p, over the target's keys and values before p. Each
further step gets the next token and the drafter's own last state, nothing else moving. The loss follows four steps,
each against the target's own distribution, over rows nearly half of which the target said itself (`target_answers`):
it learns what the target will say rather than what would be right.
"""

from collections import defaultdict
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import Gemma4AssistantForCausalLM, Gemma4ForConditionalGeneration

from training import shapes, tokenizer
from training.stages.audio_tower import report
from training.stages.decoder import ROW, Diet, best_stage, new_model
from training.stages.decoder_pass import hidden_states, logits_of
from training.stages.media_features import pictures, utterances
from training.stages.optim import DEVICE, Clock, Optimizer, half_precision, save
from training.stages.packing import Batch, Encoder, Example, Rows
from training.stages.target_answers import answers

STEPS = 4
CHATS, CHAT = 0.5, 3_072
"""Share of the batches that are one long chat, and its length: so that drafts stay right past the window."""


@torch.no_grad()
def cluster(embeddings: torch.Tensor, clusters: int, rounds: int = 12) -> torch.Tensor:
    """Token ids so ordered that each run of vocabulary / clusters ids is one cluster of like embeddings.

    Balanced k-means: tokens choose in the order of how much they would lose, each cluster takes its share only.
    """
    points = F.normalize(embeddings.float(), dim=-1)
    generator = torch.Generator().manual_seed(0)
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]]
    size = len(points) // clusters
    for _ in range(rounds):
        likeness = points @ centres.T
        best = likeness.topk(2, dim=-1).values
        taken = torch.zeros(clusters, dtype=torch.long)
        owner = torch.zeros(len(points), dtype=torch.long)
        for token in (best[:, 0] - best[:, 1]).argsort(descending=True).tolist():
            open_likeness = likeness[token].masked_fill(taken >= size, -9.0)
            owner[token] = open_likeness.argmax()
            taken[owner[token]] += 1
        centres = F.normalize(torch.zeros_like(centres).index_add_(0, owner, points), dim=-1)
    return owner.argsort(stable=True)


class Drafting:
    """What the target knows at every place of a packed batch, and the places a draft can start from.

    A place p can if its token was chosen by the target and the next is the target's to choose. Starts are kept as
    (rows, most starts in a row) indices, short rows filled up with place 0, which no loss looks at.
    """

    def __init__(self, target: Gemma4ForConditionalGeneration, batch: Batch):
        with torch.no_grad():
            output = hidden_states(target, batch, return_shared_kv_states=True)
            self.hidden = output.last_hidden_state
            self.shared = dict(output.shared_kv_states)
            self.embeddings = target.model.language_model.embed_tokens(batch.ids)
            self.logits = logits_of(target, self.hidden)
        rows, length = batch.ids.shape
        spoken = torch.zeros(rows * length, dtype=torch.bool, device=batch.ids.device)
        spoken[batch.predictors] = True
        self.spoken = spoken.view(rows, length)
        can = F.pad(self.spoken[:, :-1], (1, 0)) & self.spoken
        self.places = torch.nn.utils.rnn.pad_sequence([row.nonzero()[:, 0] for row in can], batch_first=True)
        self.real = torch.gather(can, 1, self.places)
        before = ~torch.eye(length, dtype=torch.bool, device=batch.ids.device)
        pick = self.places[:, None, :, None].expand(-1, -1, -1, length)
        masks = {"full_attention": batch.full & before, "sliding_attention": batch.sliding & before}
        self.masks = {kind: torch.gather(mask, 2, pick) for kind, mask in masks.items()}
        self.masks = {kind: mask | ~mask.any(-1, keepdim=True) for kind, mask in self.masks.items()}
        self.positions = torch.gather(batch.positions, 1, self.places)

    def ahead(self, what: torch.Tensor, steps: int) -> torch.Tensor:
        """A value of every place (rows, length, ...) so many places after each start; the row's end repeats."""
        places = (self.places + steps).clamp(0, what.shape[1] - 1)
        if what.ndim == 2:
            return torch.gather(what, 1, places)
        return torch.gather(what, 1, places[..., None].expand(-1, -1, what.shape[2]))


def unroll(drafter: Gemma4AssistantForCausalLM, drafting: Drafting) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The loss over STEPS steps from every start, and for each step whether the full head's choice is the target's."""
    state = drafting.ahead(drafting.hidden, -1)
    alive = drafting.real
    losses, agreements = [], []
    head = drafter.masked_embedding
    cluster_of = torch.empty_like(head.token_ordering)
    cluster_of[head.token_ordering] = (
        torch.arange(len(cluster_of), device=cluster_of.device) // head.vocab_size_per_centroid
    )
    for step in range(STEPS):
        inputs = torch.cat([drafting.ahead(drafting.embeddings, step), state], dim=-1)
        hidden = drafter.model(
            inputs_embeds=drafter.pre_projection(inputs),
            attention_mask=drafting.masks,
            position_ids=drafting.positions,
            shared_kv_states=drafting.shared,
            use_cache=False,
        ).last_hidden_state
        state = drafter.post_projection(hidden)
        alive = alive & drafting.ahead(drafting.spoken, step)  # the answer has not ended yet
        chosen, wanted = hidden[alive], drafting.ahead(drafting.logits, step)[alive]
        token, logits, clusters = wanted.argmax(-1), drafter.lm_head(chosen), head.centroids(chosen)
        losses.append(F.cross_entropy(logits, wanted.softmax(-1)) + 0.5 * F.cross_entropy(clusters, cluster_of[token]))
        listed = (clusters.topk(head.centroid_intermediate_top_k).indices == cluster_of[token][:, None]).any(-1)
        agreements.append((logits.argmax(-1) == token) & listed)
    return torch.stack(losses).mean(), agreements


@torch.no_grad()
def inherit(drafter: Gemma4AssistantForCausalLM, target: Gemma4ForConditionalGeneration) -> None:
    """Begin with the target's vocabulary: its embeddings' main directions, clusters of like tokens, their means."""
    embeddings = target.lm_head.weight.float()
    u, s, _ = torch.linalg.svd(embeddings - embeddings.mean(0), full_matrices=False)
    width = drafter.config.get_text_config().hidden_size
    reduced = u[:, :width] * s[:width]
    drafter.lm_head.weight.copy_(reduced / reduced.std() * 0.05)
    head = drafter.masked_embedding
    head.token_ordering.copy_(cluster(embeddings.cpu(), drafter.config.num_centroids))
    head.centroids.weight.copy_(drafter.lm_head.weight[head.token_ordering].view(head.num_centroids, -1, width).mean(1))


def short(diet: Diet, own: list[Example]) -> Batch:
    """Short rows of a step: nearly half of them the target's own answers."""
    rows = Rows(ROW, diet.encoder.ids, shapes.WINDOW)
    rows.add(iter(lambda: diet.rng.choice(own), None), 6)
    rows.add(diet.text({}, 0.0), 4)
    rows.add(diet.image(), 1)
    for _ in range(3):
        rows.add(diet.audio(), 1, shared=True)
    return rows.batch()


def train(runs: Path, minutes: float, lr: float = 2e-3, start: Path | None = None) -> None:
    """Run stage D for so many minutes in all against the finished target, resuming where it stopped.

    start: where there may be a drafter to begin with.
    """
    encoder = Encoder(tokenizer.load(runs / "tokenizer"))
    target = new_model(runs, encoder)
    target.load_state_dict(torch.load(best_stage(runs), weights_only=True, map_location=DEVICE)["model"])
    target.requires_grad_(False)
    drafter = shapes.new_drafter().to(DEVICE)
    if start is not None and start.exists():
        drafter.load_state_dict(torch.load(start, weights_only=True, map_location=DEVICE)["model"])
    else:
        inherit(drafter, target)
    optimizer, spent, checkpoint = Optimizer(drafter, lr), 0.0, runs / "draft.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=DEVICE)
        drafter.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        spent = state["spent"]
    diet = Diet(encoder, 9_000 + optimizer.steps)
    diet.pictures = pictures(runs, target)
    diet.utterances = utterances(runs, target)
    own = answers(runs, target, encoder)
    clock = Clock(minutes, spent)
    saved, agreed = clock.spent, defaultdict(list)
    while clock.progress < 1:
        batch = (diet.chats(1, CHAT) if diet.rng.random() < CHATS else short(diet, own)).to(DEVICE)
        with half_precision():
            loss, agreements = unroll(drafter, Drafting(target, batch))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(clock.progress)
        for step, agreement in enumerate(agreements, 1):
            agreed[step].append(agreement.float().mean().item())
        if optimizer.steps % 25 == 0:
            table = " ".join(f"{step}:{sum(x) / len(x):.3f}" for step, x in agreed.items())
            report(f"draft {clock.at(optimizer)} loss {loss.item():.3f} agrees {table}")
            agreed.clear()
        if clock.spent - saved > 120 or clock.progress >= 1:
            saved = clock.spent
            save(checkpoint, {"model": drafter.state_dict(), "optimizer": optimizer.state_dict(), "spent": clock.spent})
