"""Healing: a model learns from the source it was made of, or from any other, what earlier steps took from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from penjing.data.media import check_media
from penjing.data.row import Row
from penjing.errors import DataError, RecipeError
from penjing.extras import need
from penjing.layers.bitmap import stored_bytes
from penjing.layers.described import DescribedLayer
from penjing.methods.base import Aids, Method, method
from penjing.models.checkpoint import check_folder
from penjing.models.family import Model
from penjing.models.hub import locate
from penjing.models.open import open_model
from penjing.models.tower import Batch, Site, Tower
from penjing.runtimes.engine import Engine
from penjing.teach.course import Course, Data, teach
from penjing.teach.fitness import check_losses, check_shares, check_teacher, heard_s
from penjing.teach.objective import DISTILLED, Weights
from penjing.teach.packing import packed
from penjing.teach.parts import CODED, Part, Student
from penjing.teach.pseudo import SPEECH, pseudo_labelled
from penjing.teach.rows import check_rows, count_rows, rows_key, rows_to_learn
from penjing.teach.teacher import Teacher
from penjing.train.launch import multiplies_bfloat16
from penjing.train.plan import Plan
from penjing.values import Note

SOURCE = "source"
ITEMS = 4
"""Items that every loss can be had of, those among items too."""


@method("distill")
class Distill(Method):
    """Train the model, as earlier steps left it, to answer as its teacher does; shapes, masks and grids stay.

    In a recipe: `- method: distill`, after steps that prune (healing) or round (quantization-aware training: codes
    learn through their rounding, arXiv:1902.08153). The teacher is the source unless another is named; its answers are
    computed once and kept on disk. The loss is λ·task + (1 − λ)·Σ wᵢ·lossᵢ: `logits` (arXiv:1503.02531), `features`
    of blocks and embeddings (arXiv:1412.6550), `attention` (arXiv:1612.03928), `affinity` across modalities
    (arXiv:2309.12314), `relational` within one (arXiv:2307.12732); a loss that a model has nothing for is left out.
    Of all steps the one is kept that was best on the select data.
    """

    needs_data: ClassVar[bool] = True
    stores: ClassVar[bool] = False
    learns: ClassVar[bool] = True

    steps: int = Field(300, ge=1, description="steps of training, where no minutes are given")
    minutes: float | None = Field(
        None, gt=0, le=100_000, description="train for so long; the number of steps is then measured"
    )
    batch: int = Field(16, ge=1, description="items of a step")
    accumulate: int = Field(1, ge=1, description="parts that a step's items go through the model in")
    rate: float = Field(5e-4, gt=0, le=1e6, description="the highest learning rate")
    optimizer: Literal["auto", "muon", "adamw"] = Field(
        "auto", description="what moves matrices; auto takes muon as long as that costs no more than learning"
    )
    trains: Part = Field("all", description="what learns: all, norms, adapters or scales")
    rank: int = Field(8, ge=1, description="rank of adapters, which are merged afterwards")
    teacher: str = Field(SOURCE, description="whose answers are learned: the source, or a folder or id")
    task_share: float = Field(0.1, ge=0, le=1, description="λ, the share of the data's own words or matches")
    logits: float = Field(1.0, ge=0, le=1e6, description="weight of the teacher's logits")
    features: float = Field(1.0, ge=0, le=1e6, description="weight of the teacher's hidden states and embeddings")
    attention: float = Field(0.0, ge=0, le=1e6, description="weight of attention transfer")
    affinity: float = Field(1.0, ge=0, le=1e6, description="weight of relations between modalities")
    relational: float = Field(0.0, ge=0, le=1e6, description="weight of relations within a modality")
    temperature: float = Field(
        2.0, ge=0.01, le=1000, description="by which logits are divided before they are compared"
    )
    bfloat16: bool = Field(False, description="multiply in bfloat16 while training; pays where the chip has AMX")
    average: float = Field(0.98, ge=0, lt=1, description="what the running mean of the weights keeps at a step")
    check_every: int = Field(25, ge=1, description="steps between two looks at the select data")
    patience: int = Field(30, ge=1, description="looks without gain after which training ends")
    save_minutes: float = Field(2.0, ge=0, le=100_000, description="minutes of training that a kill loses at most")
    data: str | None = Field(None, description="what is learned from instead of calibration rows: a name or folder")
    pseudo_labels: bool = Field(False, description="learn speech by what the teacher hears in it; it needs data")
    join_s: float = Field(
        0.0, ge=0, le=3600, description="join clips of speech in data to lengths up to so many seconds"
    )

    @model_validator(mode="after")
    def _something(self) -> Distill:
        if self.pseudo_labels and self.data is None:
            raise ValueError("pseudo_labels are of clips, which `data` names: a set or folder, or speech-train")
        if self.join_s and self.data is None:
            raise ValueError("join_s joins clips of `data`: name a set or folder, or speech-train")
        if self.task_share < 1 and not any(self._losses.values()):
            raise ValueError("every loss of distillation weighs 0: give one a weight, or task_share: 1")
        return self

    @property
    def _losses(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in DISTILLED}

    @property
    def _weights(self) -> Weights:
        return Weights(self.task_share, self._losses, self.temperature)

    @property
    def reads(self) -> str | None:
        """The data that is learned from."""
        return self.data

    def inputs_key(self, engine: Engine | None) -> str:
        """The rows of the data that is learned from and the weights of the teacher, where it is not the source."""
        rows = "" if self.data is None else rows_key(self.data)
        if self.teacher == SOURCE:
            return rows
        return f"{rows} {check_folder(locate(self.teacher).folder, self.teacher).sha256()}"

    def conflict(self, earlier: Method) -> str:
        """After other tokens nobody knows what the teacher's answers are to."""
        other = earlier.alters_prompts and self.task_share < 1
        return "its teacher would read other tokens than it does by then" if other else ""

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Refuse it as the first step."""
        self.refuse_after((), model, targets)

    def refuse_after(self, earlier: Sequence[Method], model: Model, targets: Sequence[Tower]) -> None:
        """Refuse a teacher, losses or parts that nothing can be learned by, and data that are not there or not for it.

        How deep the student will be is known only where no step before changes its structure.
        """
        if self.bfloat16 and not multiplies_bfloat16():
            raise RecipeError("distill: this chip has no instructions for bfloat16", hint="leave bfloat16 away")
        check_shares(self.batch)
        if self.trains == "adapters":
            need("peft", "train")
        self._check_scales(earlier, targets)
        if self.data is not None:
            self._check_data(self.data, model)
        if self.teacher != SOURCE and self.task_share < 1:
            alike = not any(one.restructures for one in earlier)
            check_teacher(model, open_model(self.teacher), bool(self.features or self.attention) and alike)
        if model.family.task is not None:  # of any other what it answers is known from data alone
            check_losses(model, targets, self._weights, [model.family.probe(model.net, 0)] * ITEMS)

    def refuse_rows(self, model: Model, calibrate: Sequence[Row], select: Sequence[Row]) -> None:
        """Refuse speech whose words nobody wrote down."""
        _check_words(model, (*(calibrate if self.data is None else ()), *select))

    def _check_scales(self, earlier: Sequence[Method], targets: Sequence[Tower]) -> None:
        coded = any(isinstance(site.module, CODED) for tower in targets for site in self.chosen(tower))
        if self.trains == "scales" and not coded and not any(one.leaves_codes for one in earlier):
            raise RecipeError(
                "distill: no weights are codes by then, so there are no scales to learn",
                hint="put a step that rounds before it, such as rtn, or give trains: all",
            )

    def _check_data(self, name: str, model: Model) -> None:
        if self.pseudo_labels and model.family.task not in SPEECH:
            raise RecipeError(f"distill: {model.name} transcribes no speech", hint="leave pseudo_labels away")
        rows, longest_s = check_rows(name), heard_s(model.settings)
        check_media(model.settings, rows)
        _check_kinds(name, model, rows)
        if model.family.task is None:
            next(iter(model.family.batches(model.settings, model.folder, rows)), None)  # it says what it cannot read
        if self.join_s > longest_s:
            heard = f"hears {longest_s:g} s at most" if longest_s else "hears nothing"
            raise RecipeError(
                f"distill: join_s: {self.join_s:g} joins clips to that many seconds, and {model.name} {heard}",
                hint=f"give join_s: {longest_s:g} or less" if longest_s else "leave join_s away",
            )
        if not self.pseudo_labels:
            _check_words(model, rows)
        _check_pairs(name, model, rows)

    def runs(self, items: int) -> float:
        """Every step costs about three runs of its items, and the teacher one of all."""
        return items + (3.0 * self.steps * self.batch if self.minutes is None else 0.0)

    def takes(self) -> float:
        """The minutes that it is given."""
        return 60 * (self.minutes or 0.0)

    def keeps_bytes(
        self, model: Model, towers: Sequence[Tower], batches: Sequence[Batch], per_row: float, held: int
    ) -> float:
        """The teacher's answers to all items, held-out ones too, as large as those to a few calibration items."""
        if self.task_share == 1 or not batches:
            return 0.0
        mapped = {tower.name: tuple(range(len(tower.blocks))) for tower in towers}
        layers = mapped if self._weights.wants("features", "attention") else {}
        teacher = Teacher(lambda: model, "", layers, self._weights.embeds, self.temperature)
        items = len(batches) if self.data is None else per_row * count_rows(self.data)
        return (items + held) * teacher.item_bytes(batches)

    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Train one tower."""
        yield from self.apply_all([target], batches, aids)

    def apply_all(self, targets: Sequence[Tower], batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Train all towers together, then say of every site what it is stored in now."""
        if self.data is None:
            self.require(batches)
        sites = {site.name: (site, target) for target in targets for site in self.chosen(target)}
        student = Student(
            aids.model, targets, [site for site, _ in sites.values()], self.trains, bool(self.sites), self.rank
        )
        data = Data(self._items(aids) or batches, aids.select)
        learners, found = teach(student, self._opened(aids), data, self._course(aids), aids.scratch, aids.tell)
        aids.tell(f"held-out loss {found.before:.3g}, best {found.best:.3g} at step {found.best_step}", 1, 1)
        for site, target in sites.values():
            yield self._note(site, target, learners.error(site.module), found.best_step > 0)

    def _course(self, aids: Aids) -> Course:
        """How it is learned."""
        plan = Plan(
            self.steps,
            self.rate,
            orthogonal=self.optimizer != "adamw",
            average=self.average,
            check_every=self.check_every,
            patience=self.patience,
            save_every_s=60 * self.save_minutes,
            seconds=None if self.minutes is None else 60 * self.minutes,
        )
        chooses = self.optimizer == "auto"
        inputs = self.inputs_key(aids.engine)
        return Course(plan, self._weights, self.batch, self.accumulate, aids.seed, self.bfloat16, chooses, inputs)

    def _items(self, aids: Aids) -> Sequence[Batch]:
        """What is learned from where the recipe names data for it."""
        if self.data is None:
            return ()
        model, rows = aids.model, rows_to_learn(self.data, aids.tell, aids.select_rows)
        if self.pseudo_labels:
            rows = iter(pseudo_labelled(self._opened(aids)(), rows, aids.scratch, aids.tell))
        if self.join_s:
            rows = packed(rows, self.join_s, aids.seed)
        return [*model.family.batches(model.settings, model.folder, rows)]

    def _opened(self, aids: Aids) -> Callable[[], Model]:
        """How to open the teacher."""
        if self.teacher == SOURCE:
            return aids.teacher or (lambda: open_model(aids.model.name))
        return lambda: open_model(self.teacher)

    def _note(self, site: Site, target: Tower, error: float, learned: bool) -> Note:
        """What a site is stored in, which is what it was."""
        count = site.weight_count
        size_bytes = stored_bytes(site.module) if isinstance(site.module, DescribedLayer) else 4 * count
        bits = 8.0 * size_bytes / count
        return Note(site.name, self.name, target.name, bits, error, size_bytes=size_bytes, learned=learned)


def _check_kinds(name: str, model: Model, rows: Sequence[Row]) -> None:
    """A model that sees and hears is fed with both, and with texts: some rows must have each."""
    if not (model.settings.get("image") and model.settings.get("audio")):
        return
    kinds = {
        "pictures": any(row.image is not None for row in rows),
        "sounds": any(row.sound is not None for row in rows),
    }
    lacking = next((kind for kind, there in kinds.items() if not there), None)
    if lacking is not None:
        raise DataError(
            f"{name} has no {lacking}, and {model.name} is fed with pictures, texts and sounds",
            hint="the sets scenes and scenes-train have all three",
        )


def _check_words(model: Model, rows: Sequence[Row]) -> None:
    """A model of speech would learn to say nothing where nobody wrote down what is said."""
    silent = next((row for row in rows if not row.fields.get("text")), None)
    if model.family.task in SPEECH and silent is not None:
        raise DataError(
            f"row {silent.id!r} has no text, so {model.name} would learn to say nothing",
            hint="give what is said in `text`, or name clips in `data` with pseudo_labels: true",
        )


def _check_pairs(name: str, model: Model, rows: Sequence[Row]) -> None:
    """A model of two encoders learns from what belongs together: a picture or a sound, and words of it."""
    untold = next((row.id for row in rows if not (row.fields.get("text") or row.fields.get("label"))), None)
    if model.family.task == "dual-encoder" and untold is not None:
        raise DataError(
            f"row {untold!r} of {name} has no text, and {model.name} learns from pairs",
            hint="say in `text` what it shows or sounds like",
        )
