# SPDX-License-Identifier: Apache-2.0

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chains', '0002_manners'),
    ]

    operations = [
        migrations.AddField(
            model_name='change',
            name='approved_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='change',
            name='approved_by',
            field=models.CharField(blank=True, max_length=150),
        ),
        migrations.AddField(
            model_name='change',
            name='broken',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='change',
            name='canary_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='change',
            name='is_urgent',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='change',
            name='needs_approval',
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name='change',
            name='reverts_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='change',
            name='waits',
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name='device',
            name='drift',
            field=models.CharField(blank=True, choices=[('enforce', 'Enforce'), ('report', 'Report'), ('adopt', 'Adopt')], max_length=8),
        ),
        migrations.AddField(
            model_name='devicestatus',
            name='attached',
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name='devicestatus',
            name='closed_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='devicestatus',
            name='failures',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='devicestatus',
            name='pending',
            field=models.CharField(blank=True, max_length=63),
        ),
        migrations.AddField(
            model_name='site',
            name='changes_at_once',
            field=models.PositiveSmallIntegerField(default=16, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='site',
            name='needs_approval',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='step',
            name='label',
            field=models.CharField(blank=True, max_length=63),
        ),
        migrations.AddField(
            model_name='tenant',
            name='changes_at_once',
            field=models.PositiveSmallIntegerField(default=4, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='tenant',
            name='needs_approval',
            field=models.BooleanField(default=False),
        ),
        migrations.AlterField(
            model_name='change',
            name='status',
            field=models.CharField(choices=[('waiting', 'Waiting'), ('pending', 'Pending'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('reverting', 'Reverting'), ('reverted', 'Reverted'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=16),
        ),
        migrations.CreateModel(
            name='DeviceWrite',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('purpose', models.CharField(max_length=16)),
                ('epoch', models.PositiveBigIntegerField()),
                ('digest', models.CharField(max_length=64)),
                ('began_at', models.DateTimeField(db_index=True)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.TextField(blank=True)),
                ('change', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='writes', to='chains.change')),
                ('device', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='writes', to='chains.device')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ChangeWindow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=63, unique=True, validators=[django.core.validators.RegexValidator('\\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\Z', 'Lower-case letters, digits and hyphens, 1 to 63.')])),
                ('weekdays', models.JSONField(default=list)),
                ('opens_at', models.TimeField()),
                ('minutes', models.PositiveSmallIntegerField()),
                ('timezone', models.CharField(default='UTC', max_length=63)),
                ('site', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='windows', to='chains.site')),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='windows', to='chains.tenant')),
            ],
            options={
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('minutes__range', (1, 10080))), name='window_minutes_range')],
            },
        ),
        migrations.CreateModel(
            name='Condition',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('ready', 'Ready'), ('applied', 'Applied'), ('in_sync', 'In Sync'), ('healthy', 'Healthy'), ('progressing', 'Progressing')], max_length=16)),
                ('status', models.CharField(choices=[('true', 'True'), ('false', 'False'), ('unknown', 'Unknown')], default='unknown', max_length=8)),
                ('reason', models.CharField(max_length=63)),
                ('detail', models.CharField(blank=True, max_length=512)),
                ('generation', models.PositiveIntegerField(default=0)),
                ('since', models.DateTimeField()),
                ('chain', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='conditions', to='chains.chain')),
            ],
            options={
                'ordering': ['kind'],
                'constraints': [models.UniqueConstraint(fields=('chain', 'kind'), name='condition_once')],
            },
        ),
    ]
