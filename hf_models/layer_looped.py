"""Layers shared over depth: a prelude, a group of layers applied step by step, a coda.

B batch   T new tokens   A running positions   D model width   N steps

SPDX-License-Identifier: Apache-2.0
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .attention_context import AttentionContext
from .halting_act import Halting, HaltingRule, PublishedHalting
from .halting_early_exit import EarlyExit
from .halting_packing import PackedContext, Packing, Running
from .halting_ponder_net import PonderNet
from .layer_transformer import TransformerLayer
from .position_added import sinusoids
from .position_registry import LayerEncodings
from .transformers_internals import capture_outputs


HALTING_RULES = {"act": HaltingRule, "published": PublishedHalting, "ponder_net": PonderNet}


@dataclass
class LoopOutput:
    """What comes out of a recurrent stack.

    Attributes:
        states: `[B, T, D]`.
        halting: how far each position has come, or None where the number of steps is fixed.
        step_states: states after each step `[B, T, D]` each, where asked for.
    """

    states: Tensor
    halting: Halting | None
    step_states: tuple[Tensor, ...]


class StepEncoding(nn.Module):
    """Adds a vector that says the step."""

    def __init__(self, config):
        super().__init__()
        self.width, self.steps = config.hidden_size, config.num_steps
        self.table = nn.Embedding(self.steps, self.width) if config.step_encoding == "learned" else None

    def forward(self, states: Tensor, step: int) -> Tensor:
        """States `[B, T, D]` with the vector of a step, counted from 0.

        Raises:
            ValueError: a learned table has no such step.
        """
        if self.table is None:
            time = torch.tensor([step + 1], device=states.device)
            return states + sinusoids(time, self.width, states.dtype).to(states.dtype)
        if step >= self.steps:
            raise ValueError(f"Step {step + 1} is beyond the learned step_encoding of {self.steps} steps.")
        return states + self.table(torch.full((1,), step, device=states.device))


class LoopedLayers(nn.Module):
    """Prelude, shared group and coda, with a fixed number of steps or a rule that halts.

    Dehghani et al. 2019, https://arxiv.org/abs/1807.03819; prelude, injection and coda: Geiping et al. 2025,
    https://arxiv.org/abs/2502.05171.

    Args:
        config: the model's configuration.
        layer_class: built as `layer_class(config, index)` for each layer with weights of its own.
    """

    def __init__(self, config, layer_class=TransformerLayer):
        super().__init__()
        self.config = config
        first, last = config.num_prelude_layers, config.num_prelude_layers + config.num_shared_layers
        self.prelude: Any = nn.ModuleList(layer_class(config, index) for index in range(first))
        self.layers: Any = nn.ModuleList(layer_class(config, index) for index in range(first, last))
        self.coda: Any = nn.ModuleList(
            layer_class(config, index) for index in range(last, config.num_distinct_layers())
        )
        self.step_encoding = StepEncoding(config) if config.step_encoding != "none" else None
        concat = config.input_injection == "concat"
        self.injection = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False) if concat else None
        self.halting = HALTING_RULES[config.halting](config) if config.halting != "none" else None
        self.early_exit = EarlyExit(config)  # without weights, so that any trained model can be given one

    def forward(
        self,
        states: Tensor,
        contexts: list[AttentionContext],
        encodings: LayerEncodings,
        token_mask: Tensor | None = None,
        past_key_values=None,
        readout=None,
        keep_steps: bool = False,
        recorded: bool = False,
        **kwargs,
    ) -> LoopOutput:
        """Runs all layers.

        Args:
            states: embedded tokens `[B, T, D]`.
            contexts: of each layer with weights of its own.
            encodings: of each layer with weights of its own.
            token_mask: which new tokens are no padding `[B, T]`, or None.
            past_key_values: the cache, or None.
            readout: maps states to logits, for exits that look at predictions.
            keep_steps: whether to return the states after each step.
            recorded: whether somebody records what single layers give: then all positions are computed in all steps.
            kwargs: passed to the layers.
        """
        given = {"encodings": encodings, "past_key_values": past_key_values, **kwargs}
        last = len(self.prelude) + len(self.layers)
        for index, layer in enumerate(self.prelude):
            states = self.enter(states, index, encodings, contexts[index].positions.query_ids)
            states = layer(*contexts[index].of(states, encodings[index]), layer_idx=index, **self._passed(given))
        rule = self.early_exit if self.halting is None and self.exits() else self.halting
        if rule is None:
            recurred = self.loop(states, contexts, keep_steps, **given)
        else:
            whole = keep_steps or recorded or rule.keeps_all or not rule.freezes
            if whole or not self.packs():
                leaves = not (keep_steps or recorded or past_key_values is not None or self.looked_at())
                recurred = self.ponder(rule, states, contexts, token_mask, readout, keep_steps, leaves, **given)
            else:
                recurred = self.ponder_packed(rule, states, contexts, token_mask, readout, **given)
        states = recurred.states
        layer_idx = self.config.num_hidden_layers - len(self.coda)
        for index, layer in enumerate(self.coda, start=last):
            states = self.enter(states, index, encodings, contexts[index].positions.query_ids)
            states = layer(
                *contexts[index].of(states, encodings[index]),
                layer_idx=layer_idx + index - last,
                **self._passed(given),
            )
        return LoopOutput(states, recurred.halting, recurred.step_states)

    def exits(self) -> bool:
        """Whether evaluation may leave the loop by a criterion."""
        return self.config.exit_criterion != "none" and not self.training

    @staticmethod
    def _passed(given) -> dict:
        return {name: value for name, value in given.items() if name != "encodings"}

    def enter(self, states, index, encodings, ids, step: int = 0) -> Tensor:
        """Adds what an encoding adds, before the first layer that uses it; what says the step, in every step."""
        group = range(len(self.prelude), len(self.prelude) + len(self.layers))
        encoding, used = encodings[index], encodings.of_layer
        if encoding.recurrent_only:
            enters = index in group and used[index] not in used[group.start : index]
        else:
            enters = encodings.enters(index) and step == 0
        return encoding.embed(states, ids, step) if enters else states

    def loop(self, given_states, contexts, keep_steps, **given) -> LoopOutput:
        """A fixed number of steps, or in training a random one."""
        states, kept = self.first_state(given_states), []
        steps = self.draw_steps()
        for step in range(steps):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.truncated(step, steps)):
                states = self.enter_step(states, given_states, step)
                states = self.step(states, step, steps, contexts, **given)
            kept += [states] if keep_steps else []
        return LoopOutput(states, None, tuple(kept))

    def ponder(self, rule, given_states, contexts, token_mask, readout, keep_steps, leaves, **given) -> LoopOutput:
        """Steps until every position has halted, with all positions computed.

        Where it may, the loop ends with the last running position. With a cache it goes on, since later tokens will
        look for keys and values at every step; and where somebody looks at layers or steps, so that all are there.
        """
        states, kept = self.first_state(given_states), []
        steps = self.draw_steps()
        halting, output = Halting.start(states, token_mask), torch.zeros_like(states)
        fresh, offered = halting.running, [(None, None)] * len(self.layers)
        leaves = leaves and not torch.compiler.is_compiling()
        for step in range(steps):
            now = rule.goes_on(halting)
            if not (leaves or rule.freezes):  # later tokens see states that go on changing
                now = torch.ones_like(now)
            if leaves and not now.any():
                break
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.truncated(step, steps)):
                entered = self.enter_step(states, given_states, step)
                running = Running(now, fresh) if rule.freezes else None
                after = self.step(entered, step, steps, contexts, running=running, offered=offered, **given)
                after = torch.where(now[..., None], after, states)
                halting = rule.advance(halting, states, after, step == steps - 1, readout)
                output, states = rule.mix(output, halting.weight, after), after
            fresh = now
            kept += [states] if keep_steps else []
        return LoopOutput(output, halting, tuple(kept))

    def ponder_packed(self, rule, given_states, contexts, token_mask, readout, **given) -> LoopOutput:
        """The same, with the running positions put together, so that those that have halted take no time.

        With a cache, what is left to do after the last has halted is to show the later steps what was offered last.
        """
        batch, length, width = given_states.shape
        given_states = given_states.flatten(0, 1)
        steps = self.draw_steps()
        fresh, entering = torch.arange(batch * length, device=given_states.device), self.first_state(given_states)
        if token_mask is not None:
            fresh = token_mask.flatten().nonzero()[:, 0]
            entering = entering.index_select(0, fresh)
        running, chosen = fresh, torch.arange(len(fresh), device=fresh.device)
        output, halting = torch.zeros_like(entering), Halting.start(entering[None], None)
        finished: list[tuple[Tensor, Tensor, Halting]] = []
        offered = [(None, None)] * len(self.layers)
        for step in range(steps):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.truncated(step, steps)):
                if len(running) == batch * length:  # nothing to leave out
                    before, shape = entering, (batch, length, width)
                    entered = self.enter_step(before.view(shape), given_states.view(shape), step)
                    after = self.step(entered, step, steps, contexts, **given).flatten(0, 1)
                else:
                    packing = Packing.of(fresh, chosen, batch, length)
                    before = packing.running(entering)
                    entered = self.enter_step(entering, self.injected(given_states, packing), step)
                    after = self.step(entered, step, steps, contexts, packing=packing, offered=offered, **given)
                halting.rows = running // length
                halting = rule.advance(halting, before[None], after[None], step == steps - 1, readout)
                output = rule.mix(output, halting.weight[0], after)
            chosen, halts = halting.running[0].nonzero()[:, 0], (~halting.running[0]).nonzero()[:, 0]
            finished.append((running.index_select(0, halts), output.index_select(0, halts), halting.select(halts)))
            fresh, entering = running, after
            running, output, halting = (
                fresh.index_select(0, chosen),
                output.index_select(0, chosen),
                halting.select(chosen),
            )
            if not len(running) and given["past_key_values"] is None:
                break
        places, outputs, halted = zip(*finished, strict=True)
        index = torch.cat(places)
        output = torch.zeros_like(given_states).index_copy(0, index, torch.cat(outputs))
        return LoopOutput(output.view(batch, length, width), Halting.place(index, halted, batch, length), ())

    def packs(self) -> bool:
        """Whether running positions can be put together: nothing may look at single layers, or need all positions."""
        checkpointed = self.training and any(layer.gradient_checkpointing for layer in self.layers)
        able = all(layer.packable for layer in self.layers) and not torch.compiler.is_compiling()
        return able and not checkpointed and not self.looked_at()

    def looked_at(self) -> bool:
        """Whether somebody has hooked into the group's layers.

        transformers' own hooks stay in place after outputs were recorded once; they do not count, since the model says
        when it records.
        """
        hooks = [
            hook
            for module in self.layers.modules()
            for hooked in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
            for hook in hooked.values()
        ]
        return any(hook.__module__ != capture_outputs.__module__ for hook in hooks)

    def first_state(self, given_states: Tensor) -> Tensor:
        """What the first step begins with `[B, T, D]`."""
        if self.config.initial_state == "input":
            return given_states
        if self.config.initial_state == "random" and self.training:
            return torch.randn_like(given_states)
        return torch.zeros_like(given_states)

    def injected(self, given_states: Tensor, packing: Packing) -> Tensor:
        """What is injected of packed positions `[P, D]`, of all positions `[B T, D]`; anything where nothing is."""
        return given_states if self.config.input_injection == "none" else given_states.index_select(0, packing.fresh)

    def enter_step(self, states: Tensor, given_states: Tensor, step: int) -> Tensor:
        """States before a step, with the input injected and the step said `[B, T, D]`."""
        if self.injection is not None:
            states = self.injection(torch.cat([states, given_states], dim=-1))
        elif self.config.input_injection == "add":
            states = states + given_states
        if self.step_encoding is not None:
            states = self.step_encoding(states, step)
        return states

    def step(  # noqa: PLR0913, one layer for each way to run
        self,
        states,
        step,
        steps,
        contexts,
        encodings,
        past_key_values,
        running=None,
        packing=None,
        offered: Any = None,
        **kwargs,
    ):
        """Applies the group once `[B, T, D]`; step and layer together choose the cache slot.

        With `packing`, the states given are those of the fresh positions `[P, D]`, and those returned of the running
        ones `[A, D]`. With `running` or `packing`, `offered` is a list of the keys and values of each layer, brought
        up to date.
        """
        cached = self.config.num_cached_steps()
        packed: dict[tuple, PackedContext] = {}
        for place, layer in enumerate(self.layers):
            index = len(self.prelude) + place
            context, encoding = contexts[index], encodings[index]
            ids = context.positions.query_ids
            if packing is not None:
                key = id(context.positions), id(context.added), id(context.bias)
                if key not in packed:
                    packed[key] = packing.contexts(context)
                ids = packed[key].ids
            states = self.enter(states, index, encodings, ids, step)
            layer_idx = len(self.prelude) + step % cached * len(self.layers) + place
            given = {
                "past_key_values": past_key_values,
                "layer_idx": layer_idx,
                "write_cache": step >= steps - cached,
                **kwargs,
            }
            if packing is not None:
                after, *offered[place] = layer.forward_packed(
                    states, packed[key], encoding, packing, *context.source, *offered[place], **given
                )
                states = after if layer is self.layers[-1] else packing.go_on(states, after)
            elif running is not None:
                states, *offered[place] = layer(
                    *context.of(states, encoding), *offered[place], running=running, **given
                )
            else:
                states = layer(*context.of(states, encoding), **given)
        return states

    def draw_steps(self) -> int:
        """Number of steps of this forward pass."""
        config = self.config
        if not self.training or config.random_steps == "none":
            return config.num_steps
        if config.random_steps == "uniform":
            return int(torch.randint(1, config.num_steps + 1, ()))
        # A log-normal rate with this spread, whose mean is the configured number.
        spread = 0.5
        rate = torch.exp(torch.randn(()) * spread + math.log(max(config.num_steps - 1, 1e-6)) - spread**2 / 2)
        return 1 + int(torch.poisson(rate))

    def truncated(self, step: int, steps: int) -> bool:
        """Whether no gradient reaches a step."""
        return self.training and self.config.backprop_steps is not None and step < steps - self.config.backprop_steps
