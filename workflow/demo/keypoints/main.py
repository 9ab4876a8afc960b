"""Train the keypoint model, with the command line, output and files of DETR. In this folder:

python -u -m torch.distributed.run --nproc_per_node=2 --master_port=28597 ./main.py \
    --device cpu --dist_backend gloo --output_dir work_dirs/keypoints
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from keypoints import checkpoint
from keypoints.dataset import build_loaders
from keypoints.distributed import get_rank, get_world_size, init_distributed_mode
from keypoints.engine import evaluate, train_one_epoch
from keypoints.losses import build_criterion
from keypoints.metric_logger import clock
from keypoints.model import build_model
from keypoints.pck import PCK
from torch.nn.parallel import DistributedDataParallel


def get_args_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("Set keypoint model", add_help=False)
    parser.add_argument("--lr", default=2e-3, type=float)
    parser.add_argument("--batch_size", default=8, type=int, help="images per rank")
    parser.add_argument("--weight_decay", default=1e-4, type=float)
    parser.add_argument("--epochs", default=6, type=int)
    parser.add_argument("--lr_drop", default=5, type=int, help="lr / 10 after this many epochs")
    parser.add_argument("--clip_max_norm", default=10.0, type=float, help="gradient clipping; 0 for none")

    # Model
    parser.add_argument("--dec_layers", default=6, type=int)
    parser.add_argument("--hidden_dim", default=64, type=int, help="a multiple of 16 and of nheads")
    parser.add_argument("--nheads", default=4, type=int)
    parser.add_argument("--dim_feedforward", default=128, type=int)
    parser.add_argument("--dropout", default=0.0, type=float)

    # Losses
    parser.add_argument("--no_aux_loss", dest="aux_loss", action="store_false", help="last layer only")
    parser.add_argument("--cls_loss_coef", default=2, type=float)
    parser.add_argument("--coords_loss_coef", default=5, type=float)
    parser.add_argument("--room_cls_loss_coef", default=1, type=float)

    # Data
    parser.add_argument("--cls_tokens", action="store_true", help="one <cls> per figure, with its category")
    parser.add_argument("--train_images", default=768, type=int)
    parser.add_argument("--val_images", default=96, type=int)
    parser.add_argument("--image_size", default=32, type=int)
    parser.add_argument("--num_workers", default=0, type=int)

    # Run
    parser.add_argument("--print_freq", default=10, type=int)
    parser.add_argument("--output_dir", default="", help="path where to save, empty for no saving")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", default=42, type=int)
    parser.add_argument("--resume", default="", help="resume from this checkpoint")
    parser.add_argument("--start_epoch", default=0, type=int)
    parser.add_argument("--finetune", default="", help="start from the weights of this checkpoint")
    parser.add_argument("--world_size", default=1, type=int, help="set by the launcher")
    parser.add_argument("--dist_url", default="env://")
    parser.add_argument("--dist_backend", default="nccl")
    return parser


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser("Keypoint training script", parents=[get_args_parser()])
    args = parser.parse_args()
    for option in ("resume", "finetune"):
        path = getattr(args, option)
        if path and not Path(path).is_file():
            parser.error(f"--{option}: there is no file {path}")
    return args


def seed_everything(*numbers: int) -> None:
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    np.random.seed(seed)
    torch.manual_seed(seed)


def main(args: argparse.Namespace) -> None:
    init_distributed_mode(args)
    print(args)
    device, rank = torch.device(args.device), get_rank()
    seed_everything(args.seed, rank)

    model = model_without_ddp = build_model(args).to(device)
    if args.distributed:
        model = DistributedDataParallel(model, [args.gpu] if device.type == "cuda" else None)
    n_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print("number of params:", n_parameters)

    criterion = build_criterion(args)
    loader_train, loader_val = build_loaders(args, rank, get_world_size())
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay, fused=True)
    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, args.lr_drop)
    parts = {"model": model_without_ddp, "optimizer": optimizer, "lr_scheduler": lr_scheduler}
    if args.resume:
        args.start_epoch = checkpoint.resume(args.resume, parts)
    elif args.finetune:
        checkpoint.load_weights(args.finetune, model_without_ddp)

    print("Start training")
    start_time = time.time()
    for epoch in range(args.start_epoch, args.epochs):
        # an epoch is the same whether or not the process has seen the ones before it
        seed_everything(args.seed, epoch, rank)
        loader_train.batch_sampler.sampler.set_epoch(epoch)
        train_stats = train_one_epoch(
            model, criterion, loader_train, optimizer, device, epoch, args.clip_max_norm, args.print_freq
        )
        lr_scheduler.step()
        if args.output_dir and rank == 0:
            checkpoint.save_epoch(Path(args.output_dir), parts, epoch, args)

        test_stats = evaluate(model_without_ddp, criterion, loader_val, device, args.print_freq)
        log_stats = {
            **{f"train_{name}": value for name, value in train_stats.items()},
            **{f"test_{name}": value for name, value in test_stats.items()},
            "epoch": epoch,
            "n_parameters": n_parameters,
        }
        if args.output_dir and rank == 0:
            with (Path(args.output_dir) / "log.txt").open("a") as file:
                file.write(json.dumps(log_stats) + "\n")
        print(f"Epoch {epoch + 1} Summary:")
        print(f"  Train Loss: {train_stats['loss']:.4f}")
        print(f"  Val Loss: {test_stats['loss']:.4f}")
        print(f"  Val PCK@0.1: {test_stats[PCK]:.4f}")
    print("Training time", clock(time.time() - start_time))


if __name__ == "__main__":
    args = parse_args()
    if args.output_dir:
        Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    main(args)
